// One source, three processors: files that compute are compiled once per value of TFJS_LLA_ISA, each into a namespace of
// that name, with the compiler's flags for that processor. Everything they call must lie in that namespace too (or be C):
// the linker keeps one copy of an inline function of another library, and it might be the one for the newest processor.
#pragma once

// Declares a function that such a file defines, for all three.
#define TFJS_LLA_DECLARE(name, ...)       \
  namespace generic {                     \
  void name(__VA_ARGS__);                 \
  }                                       \
  namespace avx2 {                        \
  void name(__VA_ARGS__);                 \
  }                                       \
  namespace avx512 {                      \
  void name(__VA_ARGS__);                 \
  }

// The one of the three functions that suits this processor.
#define TFJS_LLA_DISPATCH(name) \
  ::tfjs_lla::ForThisProcessor(::tfjs_lla::generic::name, ::tfjs_lla::avx2::name, ::tfjs_lla::avx512::name)

namespace tfjs_lla {

// TFJS_LLA_MAX_ISA=generic or avx2 in the environment holds a newer processor back, for tests and comparisons.
int ProcessorLevel();

template <typename Function>
Function* ForThisProcessor(Function* generic, Function* avx2, Function* avx512) {
  const int level = ProcessorLevel();
  return level == 2 ? avx512 : level == 1 ? avx2 : generic;
}

}  // namespace tfjs_lla
