// SPDX-License-Identifier: Apache-2.0
#include "example_file.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <fstream>

namespace amp4ec::test {

void write_example(const std::filesystem::path& file, const std::vector<std::int64_t>& shape) {
  const at::Tensor tensor = at::linspace(-1, 1, c10::multiply_integers(shape)).reshape(shape);
  const auto bytes = torch::jit::pickle_save(c10::ivalue::Tuple::create({c10::IValue(tensor)}));
  std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace amp4ec::test
