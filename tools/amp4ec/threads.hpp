// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace amp4ec::cli {

/// Computes on one thread from here on, as workers below two CPUs do: their answers are compared with ours bit by bit,
/// and sums on two threads may round otherwise.
void use_one_thread();

}  // namespace amp4ec::cli
