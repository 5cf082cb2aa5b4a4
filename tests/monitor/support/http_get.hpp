// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <cstdint>
#include <string>

namespace amp4ec::test {

struct HttpAnswer {
  std::string head;  ///< Status line and headers.
  std::string body;
};

inline boost::asio::ip::tcp::socket connect_to_loopback(boost::asio::io_context& context, std::uint16_t port) {
  boost::asio::ip::tcp::socket socket(context);
  socket.connect({boost::asio::ip::address_v4::loopback(), port});
  return socket;
}

inline std::string http_request(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
}

/// Throws when nobody listens.
inline HttpAnswer http_get(std::uint16_t port, const std::string& path) {
  boost::asio::io_context context;
  auto socket = connect_to_loopback(context, port);
  boost::asio::write(socket, boost::asio::buffer(http_request(path)));
  std::string answer;
  boost::system::error_code end;
  boost::asio::read(socket, boost::asio::dynamic_buffer(answer), end);
  const auto gap = answer.find("\r\n\r\n");
  if (gap == std::string::npos) return {answer, {}};
  return {answer.substr(0, gap), answer.substr(gap + 4)};
}

}  // namespace amp4ec::test
