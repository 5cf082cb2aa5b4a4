// SPDX-License-Identifier: Apache-2.0
// Operators that LibTorch does not have, as a user's own library registers them.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>

namespace {

/// Turns on its process's peers where the first element is over 100: writes rubbish over all that it shares with them,
/// a part of it or all of it.
at::Tensor scribble(const at::Tensor& x) {
  const double first = x.flatten()[0].item<double>();
  if (first <= 100) return x.clone();
  std::mt19937_64 random(static_cast<std::uint64_t>(first * 1000));
  const bool everything = random() % 2 == 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char access[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access) != 3) continue;
    if (access[1] != 'w' || access[3] != 's' || line.find("/memfd:amp4ec") == std::string::npos) continue;
    for (auto* word = reinterpret_cast<std::uint64_t*>(begin); word < reinterpret_cast<std::uint64_t*>(end); ++word) {
      if (everything || random() % 16 == 0) *word = random() % 4 == 0 ? random() % 64 : random();
    }
  }
  return x.clone();
}

at::Tensor soft_clip(const at::Tensor& x, double limit) {
  return limit * at::tanh(x / limit);
}

at::Tensor mirrored(at::Tensor x) {
  return at::cat({x, x.flip(0)});
}

}  // namespace

TORCH_LIBRARY(amp4ec_test, library) {
  library.def("soft_clip(Tensor x, float limit) -> Tensor", soft_clip);
  library.def("scribble(Tensor x) -> Tensor", scribble);
  library.def("mirrored", mirrored);  // Without a schema: LibTorch must assume that it writes.
}
