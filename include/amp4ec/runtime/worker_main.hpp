// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

namespace amp4ec {

/// The program of worker processes; the executable `amp4ec-worker` is nothing but this. A host that installs no such
/// executable is its own: it calls this first in `main`, before it starts threads or runs an operator, and returns what
/// it gets.
///
///     int main(int argc, char** argv) {
///       if (const auto status = amp4ec::worker_main(argc, argv)) return *status;
///       ...
///
/// Started by a host as a worker (the arguments say so), it serves the host at the other end of the inherited control
/// channel until that end closes, and gives the exit status: 0, or 2 when there is no channel. Otherwise it gives
/// nothing, at once: from now on this program is the worker executable of its runtimes, unless
/// RuntimeOptions::worker_executable or $AMP4EC_WORKER names another.
std::optional<int> worker_main(int argc, char** argv);

}  // namespace amp4ec
