// SPDX-License-Identifier: Apache-2.0
#include "threads.hpp"

#include <ATen/Parallel.h>

#include <dlfcn.h>

namespace amp4ec::cli {

void use_one_thread() {
  at::set_num_threads(1);
  // LibTorch does not reach an OpenBLAS with threads of its own. Its setter has this name in every build of it.
  using SetThreads = void (*)(int);
  if (const auto set = reinterpret_cast<SetThreads>(::dlsym(RTLD_DEFAULT, "openblas_set_num_threads"))) set(1);
}

}  // namespace amp4ec::cli
