// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/runtime/worker_main.hpp>

#include "model/worker_memory.hpp"
#include "runtime/fork_server.hpp"
#include "runtime/worker_loop.hpp"
#include "runtime/worker_process.hpp"

#include <amp4ec/model/segment_executor.hpp>

#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace amp4ec {

namespace {

/// Ends the process when the host is gone, even while an operator computes.
void end_with_host(int channel) {
  std::thread([channel] {
    pollfd wait{channel, 0, 0};  // POLLHUP is always reported.
    while (poll(&wait, 1, -1) <= 0) continue;
    _exit(0);
  }).detach();
}

}  // namespace

std::optional<int> worker_main(int argc, char** argv) {
  const int fd = detail::fork_server_channel(argc, argv);
  if (fd < 0) {
    detail::host_can_be_worker();
    return std::nullopt;
  }
  auto host = ipc::ControlChannel::adopt(ipc::UniqueFd(fd));
  if (!host) return 2;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  detail::keep_freed_memory();
  disable_fuser_in_this_process();
  auto channel = detail::serve_forks(std::move(*host));
  if (!channel || !channel->receive(ipc::forever)) return 0;  // The host is gone, or could not place this one.
  end_with_host(channel->fd());
  return detail::serve_requests(std::move(*channel));
}

}  // namespace amp4ec
