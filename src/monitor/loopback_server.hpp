// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

namespace amp4ec::detail {

/// Answers HTTP GET of one path at 127.0.0.1, on a thread of its own that takes none of the host's signals.
///
/// Why not prometheus-cpp's own server: it gives its threads stacks of 100 KiB, which a process that has LibTorch
/// loaded cannot start, since all of that is thread-local memory already; and it sets SIGPIPE aside for the whole
/// process.
class LoopbackServer {
 public:
  struct Page {
    std::string path;
    std::string content_type;
    std::function<std::string()> text;  ///< On the server's thread; must not throw.
  };

  /// Port 0: any free one. Throws boost::system::system_error when the port is taken or descriptors run out.
  LoopbackServer(Page page, std::uint16_t port);
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;
  ~LoopbackServer();  ///< Breaks off what is being answered.

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

 private:
  class Connection;
  void accept();

  const Page page_;
  boost::asio::io_context io_{1};
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_{io_};
  std::uint16_t port_;
  std::size_t connections_ = 0;
  std::thread thread_;
};

}  // namespace amp4ec::detail
