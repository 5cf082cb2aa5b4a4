// SPDX-License-Identifier: Apache-2.0
// Operators that LibTorch does not have, as a user's own library registers them.
#include <ATen/ATen.h>
#include <torch/library.h>

namespace {

at::Tensor soft_clip(const at::Tensor& x, double limit) {
  return limit * at::tanh(x / limit);
}

at::Tensor mirrored(at::Tensor x) {
  return at::cat({x, x.flip(0)});
}

}  // namespace

TORCH_LIBRARY(amp4ec_test, library) {
  library.def("soft_clip(Tensor x, float limit) -> Tensor", soft_clip);
  library.def("mirrored", mirrored);  // Without a schema: LibTorch must assume that it writes.
}
