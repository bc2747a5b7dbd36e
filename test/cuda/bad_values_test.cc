// Numbers that are not finite come out as NaN in the rows that see them and in the gradients of the keys that those
// rows see, and nowhere else (docs/decisions/0002).
#include <cstdio>

#include "cases.h"

namespace {

bool failed = false;

void Check(const char* name, bool good) {
  std::printf("%-40s %s\n", name, good ? "ok" : "FAIL");
  failed |= !good;
}

}  // namespace

int main() {
  using tfjs_lla::emulator::GuardedMemory;
  const int kRows = 100, kKeys = 120, kDim = 20, kBadKey = 90, kBadRow = 30, kBadRidge = 35, kBadDout = 12;
  for (const Family family : {Family::kSoftmax, Family::kLocalLinear}) {
    for (const bool high : {true, false}) {
      const Case c = {"", family, high, {1, 1, kRows, kKeys, kDim, kDim, true}, 0, false, false, 0, 0, 0};
      Inputs in = MakeInputs(c, 3);
      const bool solved = family == Family::kLocalLinear;
      in.key[kBadKey * kDim + 3] = NAN;
      in.value[(kBadKey + 5) * kDim] = INFINITY;
      in.query[kBadRow * kDim] = NAN;
      if (solved) in.ridge[kBadRidge] = -1;
      const int shift = kKeys - kRows;
      const auto bad_row = [&](int i) { return i == kBadRow || (solved && i == kBadRidge) || i + shift >= kBadKey; };
      GuardedMemory out(kRows * kDim * 4), probe(kRows * kDim * 4);
      {
        Call call(c, in);
        call.params.out = reinterpret_cast<float*>(out.data());
        call.params.probe_out = reinterpret_cast<float*>(probe.data());
        call.Run([](tfjs_lla::ProbePlanner& planner) { return planner.Forward(); });
        Check("rows that see a bad number", NanExactly(call.params.out, kRows, kDim, bad_row));
      }
      // The bad key is hidden, so that what is left of badness is that of single rows.
      in.mask.assign(kKeys, 1);
      in.mask[kBadKey] = in.mask[kBadKey + 5] = 0;
      std::vector<float> cotangent(kRows * kDim, 0.5f);
      cotangent[kBadDout * kDim + 1] = NAN;
      const auto bad_gradient = [&](int i) { return i == kBadRow || i == kBadDout || (solved && i == kBadRidge); };
      const int bad_bound = (solved ? kBadRidge : kBadRow) + shift + 1;
      if (solved) {
        in.probe.assign(kRows * kDim, 0.1f);
      }
      Call call(c, in);
      const auto dout = Copy(cotangent);
      GuardedMemory dquery(kRows * kDim * 4), dkey(kKeys * kDim * 4), dvalue(kKeys * kDim * 4), dbias(kKeys * 4),
          dridge(kRows * 4);
      call.params.dout = Address<float>(dout);
      call.params.dquery = reinterpret_cast<float*>(dquery.data());
      call.params.dkey = reinterpret_cast<float*>(dkey.data());
      call.params.dvalue = reinterpret_cast<float*>(dvalue.data());
      call.params.dbias = reinterpret_cast<float*>(dbias.data());
      call.params.dridge = reinterpret_cast<float*>(dridge.data());
      call.Run([](tfjs_lla::ProbePlanner& planner) { return planner.Gradient(); });
      const auto bad_key = [&](int j) { return j < bad_bound; };
      Check("gradients of rows", NanExactly(call.params.dquery, kRows, kDim, bad_gradient));
      if (solved) Check("gradients of ridges", NanExactly(call.params.dridge, kRows, 1, bad_gradient));
      Check("gradients of keys", NanExactly(call.params.dkey, kKeys, kDim, bad_key));
      Check("gradients of values", NanExactly(call.params.dvalue, kKeys, kDim, bad_key));
      Check("gradients of biases", NanExactly(call.params.dbias, kKeys, 1, bad_key));
    }
  }
  return failed ? 1 : 0;
}
