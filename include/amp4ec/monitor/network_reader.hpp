// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/kernel_text.hpp>
#include <amp4ec/core/error.hpp>
#include <amp4ec/ipc/unique_fd.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

namespace amp4ec {

/// Adds up the interfaces in the text of /proc/PID/net/dev (proc(5)), all but `lo`: what a process sends to its own
/// machine is no network traffic. @error NotSupported when the text has another form.
inline Result<NetworkTraffic> parse_network_traffic(std::string_view text) {
  const auto skip_blanks = [](std::string_view& rest) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  };
  const auto malformed = [](std::string_view line) {
    return Error{Errc::NotSupported,
                 fmt::format("cannot read network traffic from the kernel's text '{}'", line.substr(0, 80))};
  };
  for (const std::string_view title : {"Receive", "bytes"}) {
    const auto line = cgroup::detail::take_until(text, '\n');
    if (line.find(title) == std::string_view::npos) return malformed(line);
  }
  NetworkTraffic sum;
  while (!text.empty()) {
    const auto line = cgroup::detail::take_until(text, '\n');
    const auto colon = line.rfind(':');
    if (colon == std::string_view::npos) return malformed(line);
    // Received: bytes, packets, errs, drop, fifo, frame, compressed, multicast; then sent: bytes, packets, ...
    std::array<std::uint64_t, 10> fields{};
    auto rest = line.substr(colon + 1);
    for (auto& field : fields) {
      skip_blanks(rest);
      const auto number = cgroup::detail::to_number(cgroup::detail::take_until(rest, ' '));
      if (!number) return malformed(line);
      field = *number;
    }
    auto name = line.substr(0, colon);
    skip_blanks(name);
    if (name.empty()) return malformed(line);
    if (name == "lo") continue;
    sum.received += Bytes{fields[0]};
    sum.packets_received += fields[1];
    sum.sent += Bytes{fields[8]};
    sum.packets_sent += fields[9];
  }
  return sum;
}

/// What went through the interfaces of a process's network namespace since they were made. A node whose workers share
/// the host's namespace has the host's traffic here. A copyable callable for `NodeSource::read_network`; one call at a
/// time, copies included. About 10 us, more with many interfaces; but copies share what was read in the last 5 ms, so
/// that the nodes of one namespace cost one reading a round.
class NetworkReader {
 public:
  static constexpr std::chrono::milliseconds shared_for{5};

  /// The namespace that `process` (0: this one) is in now; it is watched from then on, even after the process has gone.
  /// @error SystemCall.
  static Result<NetworkReader> open(pid_t process = 0) {
    const auto path = process == 0 ? std::string("/proc/self/net/dev") : fmt::format("/proc/{}/net/dev", process);
    ipc::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return ipc::detail::system_error("opening " + path);
    return NetworkReader(std::make_shared<State>(State{std::move(fd), {}}));
  }

  /// @error SystemCall, NotSupported.
  [[nodiscard]] Result<NetworkTraffic> operator()() const {
    const auto now = std::chrono::steady_clock::now();
    if (state_->last && now - state_->time < shared_for) return *state_->last;
    auto traffic = read();
    state_->time = now;
    state_->last = traffic ? std::optional(*traffic) : std::nullopt;
    return traffic;
  }

 private:
  struct State {
    ipc::UniqueFd fd;
    std::string text;  ///< Kept, so that only the first reading allocates.
    std::optional<NetworkTraffic> last{};
    std::chrono::steady_clock::time_point time{};
  };

  [[nodiscard]] Result<NetworkTraffic> read() const {
    constexpr std::size_t step = 4096;
    const auto& fd = state_->fd;
    auto& text = state_->text;
    std::size_t length = 0;
    // The kernel gives some lines at a time, and nothing at the end.
    for (;;) {
      if (text.size() < length + step) text.resize(length + step);
      const auto count = ::pread(fd.get(), text.data() + length, text.size() - length, static_cast<off_t>(length));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return ipc::detail::system_error("reading network traffic");
      if (count == 0) break;
      length += static_cast<std::size_t>(count);
    }
    return parse_network_traffic(std::string_view(text).substr(0, length));
  }

  explicit NetworkReader(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace amp4ec
