// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace amp4ec {

/// The program of a worker process; the executable `amp4ec-worker` is nothing but this. It serves the host at the other
/// end of the inherited control channel (argv[1] is its descriptor) and returns when that end closes.
/// Returns the exit status: 0 after an orderly end, 2 when it was not started by a host.
int worker_main(int argc, char** argv);

}  // namespace amp4ec
