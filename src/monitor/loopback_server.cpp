// SPDX-License-Identifier: Apache-2.0
#include "monitor/loopback_server.hpp"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include <chrono>
#include <memory>
#include <utility>

#include <signal.h>

namespace amp4ec::detail {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

constexpr std::chrono::seconds patience{5};  ///< For a scraper that says nothing, or does not read.
constexpr std::chrono::milliseconds pause{100};
constexpr std::size_t most_connections = 32;   ///< At once; those beyond are closed unheard.
constexpr std::size_t longest_request = 8192;  ///< Headers included.

/// A thread inherits the mask of the one that starts it.
template <class Work>
std::thread start_without_signals(Work work) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread(std::move(work));
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace

/// One request and its answer.
class LoopbackServer::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(LoopbackServer& server, asio::ip::tcp::socket socket) : server_(server), stream_(std::move(socket)) {
    ++server_.connections_;
    parser_.header_limit(longest_request);
    parser_.body_limit(longest_request);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { --server_.connections_; }

  void serve() {
    stream_.expires_after(patience);
    http::async_read(stream_, buffer_, parser_, [self = shared_from_this()](beast::error_code failed, std::size_t) {
      if (!failed) self->answer();
    });
  }

 private:
  void answer() {
    const auto& request = parser_.get();
    response_.version(request.version());
    response_.keep_alive(false);
    response_.set(http::field::content_type, "text/plain; charset=utf-8");
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
      response_.result(http::status::method_not_allowed);
      response_.set(http::field::allow, "GET, HEAD");
    } else if (request.target() != server_.page_.path) {
      response_.result(http::status::not_found);
      response_.body() = "there is " + server_.page_.path + "\n";
    } else {
      response_.result(http::status::ok);
      response_.set(http::field::content_type, server_.page_.content_type);
      response_.body() = server_.page_.text();
    }
    response_.prepare_payload();
    if (request.method() == http::verb::head) response_.body().clear();
    stream_.expires_after(patience);
    http::async_write(stream_, response_, [self = shared_from_this()](beast::error_code, std::size_t) {
      beast::error_code ignored;
      self->stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    });
  }

  LoopbackServer& server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{2 * longest_request};
  http::request_parser<http::string_body> parser_;
  http::response<http::string_body> response_;
};

LoopbackServer::LoopbackServer(Page page, std::uint16_t port)
    : page_(std::move(page)),
      acceptor_(io_, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), port)),
      port_(acceptor_.local_endpoint().port()) {
  accept();
  thread_ = start_without_signals([this] {
    while (!io_.stopped()) {
      try {
        io_.run();
      } catch (...) {
        // One answer found no memory; the next may.
      }
    }
  });
}

LoopbackServer::~LoopbackServer() {
  io_.stop();
  thread_.join();
}

void LoopbackServer::accept() {
  acceptor_.async_accept([this](boost::system::error_code failed, asio::ip::tcp::socket socket) {
    if (failed == asio::error::operation_aborted) return;
    if (failed) {  // No descriptor is free: the connection stays where it is, and would be offered again at once.
      retry_.expires_after(pause);
      retry_.async_wait([this](boost::system::error_code) { accept(); });
      return;
    }
    accept();
    if (connections_ < most_connections) std::make_shared<Connection>(*this, std::move(socket))->serve();
  });
}

}  // namespace amp4ec::detail
