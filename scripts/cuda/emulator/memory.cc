// Where kernels run and their memory lies: in this process.
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "emulator.h"

namespace tfjs_lla {
namespace emulator {

const double kBarFactor = 1;

void Run(const KernelCall& call) { Launch(call.blocks, call.threads, call.shared_bytes, call.kernel); }

GuardedMemory::GuardedMemory(size_t bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  // The device's memory is aligned to 256 bytes as well; kernels round nothing below 16.
  const size_t rounded = (bytes + 15) / 16 * 16, pages = (rounded + page - 1) / page * page;
  mapped_bytes_ = pages + 2 * page;
  void* mapped = mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mapped_ = static_cast<char*>(mapped);
  mprotect(mapped_ + page, pages, PROT_READ | PROT_WRITE);
  data_ = mapped_ + page + pages - rounded;
  std::memset(mapped_ + page, 0xff, pages);
}

GuardedMemory::~GuardedMemory() { munmap(mapped_, mapped_bytes_); }

}  // namespace emulator
}  // namespace tfjs_lla
