// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace amp4ec::test {

/// Writes a tuple of one float tensor of this shape, as Python's `torch.save` does: an archive without a program.
void write_example(const std::filesystem::path& file, const std::vector<std::int64_t>& shape);

}  // namespace amp4ec::test
