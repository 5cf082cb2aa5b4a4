// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/ipc/control_channel.hpp>

namespace amp4ec::detail {

/// What `serve_requests` returns; a worker process exits with it.
inline constexpr int served = 0;           ///< The host has closed its end.
inline constexpr int protocol_broken = 3;  ///< A peer sent what cannot be trusted.

/// A worker's life: takes what the host asks on the channel (control_protocol.hpp) and the requests on the edges that
/// it is given, on the calling thread.
int serve_requests(ipc::ControlChannel channel);

}  // namespace amp4ec::detail
