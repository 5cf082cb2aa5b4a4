// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/prometheus_exporter.hpp>

#include "cgroup/support/print_result.hpp"
#include "monitor/support/exposition.hpp"
#include "monitor/support/http_get.hpp"
#include "support/catch.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/socket_base.hpp>

#include <signal.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::test;
using namespace std::chrono_literals;

namespace {
struct Watched {
  boost::asio::io_context context;
  Monitor monitor{context.get_executor()};
  PrometheusExporter exporter{monitor};
};
}  // namespace

#ifdef AMP4EC_TEST_HAS_PROMETHEUS

namespace {
NodeSource busy_node(std::string name) {
  return {std::move(name),
          0.5_cpu,
          512_MiB,
          []() -> Result<cgroup::Usage> {
            return cgroup::Usage{1s, 0us, 0, 64_MiB};
          },
          [done = std::uint64_t{0}]() mutable -> Result<WorkerReading> {
            done += 5;
            return WorkerReading{true, 3, done, 20ms * static_cast<std::int64_t>(done)};
          },
          []() -> Result<cgroup::UsageDetails> {
            return cgroup::UsageDetails{80_MiB, 1};
          }};
}
}  // namespace

TEST_CASE("a Monitor without samples exports nothing") {
  const Watched watched;
  const auto text = watched.exporter.text();
  REQUIRE(text);
  CHECK(text->empty());
}

TEST_CASE("samples become metrics in base units, one series a node") {
  Watched watched;
  REQUIRE(watched.monitor.add_node(busy_node("high")));
  REQUIRE(watched.monitor.add_node(busy_node("low")));
  watched.monitor.sample();
  const auto text = watched.exporter.text();
  REQUIRE(text);
  auto values = read_exposition(*text);
  for (const std::string node : {"{node=\"high\"}", "{node=\"low\"}"}) {
    INFO(node);
    CHECK(values.at("amp4ec_node_up" + node) == 1);
    CHECK(values.at("amp4ec_node_sample_age_seconds" + node) >= 0);
    CHECK(values.at("amp4ec_node_cpu_cores" + node) == 0);
    CHECK(values.at("amp4ec_node_cpu_quota_cores" + node) == 0.5);
    CHECK(values.at("amp4ec_node_cpu_throttled_ratio" + node) == 0);
    CHECK(values.at("amp4ec_node_memory_working_set_bytes" + node) == 0x1p26);
    CHECK(values.at("amp4ec_node_memory_peak_bytes" + node) == 80 * 0x1p20);
    CHECK(values.at("amp4ec_node_memory_limit_bytes" + node) == 0x1p29);
    CHECK(values.at("amp4ec_node_oom_kills_total" + node) == 1);
    CHECK(values.at("amp4ec_node_queued_requests" + node) == 3);
    CHECK(values.at("amp4ec_node_requests_total" + node) == 5);
    CHECK(values.at("amp4ec_node_service_time_mean_seconds" + node) == Approx(0.02));
  }
}

TEST_CASE("what a sample does not know is absent, not zero") {
  Watched watched;
  REQUIRE(watched.monitor.add_node({"bare", 0_cpu, 0_B, {}, {}}));
  watched.monitor.sample();
  const auto values = read_exposition(watched.exporter.text().value());
  CHECK(values.at("amp4ec_node_up{node=\"bare\"}") == 0);
  for (const auto* name : {"cpu_cores", "cpu_quota_cores", "memory_working_set_bytes", "memory_limit_bytes",
                           "oom_kills_total", "service_time_mean_seconds"}) {
    INFO(name);
    CHECK_FALSE(values.contains(std::string("amp4ec_node_") + name + "{node=\"bare\"}"));
  }
}

TEST_CASE("what nothing counts for a group is absent as well, figure by figure") {
  Watched watched;
  auto source = busy_node("high");
  source.read_usage = []() -> Result<cgroup::Usage> { return cgroup::Usage{.cpu_time = 1s, .memory_known = false}; };
  source.read_details = []() -> Result<cgroup::UsageDetails> {
    return cgroup::UsageDetails{.memory_peak_known = false, .memory_stat_known = false, .pressure_known = false};
  };
  REQUIRE(watched.monitor.add_node(source));
  source.node = "low";
  source.read_usage = []() -> Result<cgroup::Usage> { return cgroup::Usage{.memory = 64_MiB, .cpu_known = false}; };
  source.read_details = []() -> Result<cgroup::UsageDetails> { return cgroup::UsageDetails{.oom_kills_known = false}; };
  REQUIRE(watched.monitor.add_node(source));
  watched.monitor.sample();
  const auto values = read_exposition(watched.exporter.text().value());
  const auto nodes_with = [&](const std::string& name, const std::string& labels = "") {
    std::string nodes;
    for (const std::string node : {"high", "low"}) {
      if (values.contains("amp4ec_node_" + name + "{node=\"" + node + "\"" + labels + "}")) nodes += node + " ";
    }
    return nodes;
  };
  CHECK(nodes_with("cpu_cores") == "high ");
  CHECK(nodes_with("cpu_seconds_total") == "high ");
  CHECK(nodes_with("cpu_throttled_ratio") == "high low ");
  CHECK(nodes_with("memory_working_set_bytes") == "low ");
  CHECK(nodes_with("memory_current_bytes") == "low ");
  CHECK(nodes_with("memory_peak_bytes") == "low ");
  CHECK(nodes_with("oom_kills_total") == "high ");
  CHECK(nodes_with("page_faults_total") == "low ");
  CHECK(nodes_with("major_page_faults_total") == "low ");
  CHECK(nodes_with("pressure_ratio", R"(,resource="cpu",waiting="some")") == "low ");
}

TEST_CASE("node names cannot break the text") {
  Watched watched;
  for (const auto* name : {"a\"} 1\namp4ec_node_up{node=\"forged", "back\\slash", "\xC3\xA4gypten", "cut \xC3", "{}"}) {
    REQUIRE(watched.monitor.add_node({name, 0_cpu, 0_B, {}, {}}));
  }
  watched.monitor.sample();
  const auto values = read_exposition(watched.exporter.text().value());
  CHECK(values.contains(R"(amp4ec_node_up{node="a\"} 1\namp4ec_node_up{node=\"forged"})"));
  CHECK(values.contains(R"(amp4ec_node_up{node="back\\slash"})"));
  CHECK(values.contains("amp4ec_node_up{node=\"\xC3\xA4gypten\"}"));
  CHECK(values.contains("amp4ec_node_up{node=\"cut \xEF\xBF\xBD\"}"));
  CHECK(values.size() == 5 * 7);  // up, stalled, age, queued, requests, ring bytes in and out
}

TEST_CASE("the endpoint answers over loopback with the sample of the moment, and goes with its object") {
  Watched watched;
  REQUIRE(watched.monitor.add_node(busy_node("high")));
  watched.monitor.sample();
  std::uint16_t port = 0;
  {
    auto made = watched.exporter.listen();
    REQUIRE(made);
    PrometheusEndpoint endpoint = std::move(*made);
    port = endpoint.port();
    REQUIRE(port != 0);
    const auto first = http_get(port, "/metrics");
    CHECK(first.head.starts_with("HTTP/1.1 200 "));
    CHECK(first.head.find("text/plain") != std::string::npos);
    CHECK(read_exposition(first.body).at("amp4ec_node_requests_total{node=\"high\"}") == 5);
    watched.monitor.sample();
    CHECK(read_exposition(http_get(port, "/metrics").body).at("amp4ec_node_requests_total{node=\"high\"}") == 10);
    CHECK(http_get(port, "/etc/passwd").head.starts_with("HTTP/1.1 404 "));
  }
  CHECK_THROWS(http_get(port, "/metrics"));
}

TEST_CASE("a taken port is an error that names it") {
  const Watched watched;
  const auto first = watched.exporter.listen();
  REQUIRE(first);
  const auto second = watched.exporter.listen(first->port());
  REQUIRE_FALSE(second);
  CHECK(second.error().code == Errc::SystemCall);
  CHECK(second.error().message.find(std::to_string(first->port())) != std::string::npos);
}

TEST_CASE("the endpoint leaves the host's signals alone, and survives a scraper that hangs up") {
  Watched watched;
  for (int i = 0; i < 200; ++i) REQUIRE(watched.monitor.add_node(busy_node(fmt::format("node-{}", i))));
  watched.monitor.sample();
  struct sigaction before {};
  REQUIRE(::signal(SIGPIPE, SIG_DFL) != SIG_ERR);
  REQUIRE(::sigaction(SIGPIPE, nullptr, &before) == 0);
  sigset_t mask_before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_before);
  const auto endpoint = watched.exporter.listen();
  REQUIRE(endpoint);
  struct sigaction after {};
  REQUIRE(::sigaction(SIGPIPE, nullptr, &after) == 0);
  CHECK(after.sa_handler == before.sa_handler);
  sigset_t mask_after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
  for (int number = 1; number < 32; ++number) {
    CHECK(::sigismember(&mask_after, number) == ::sigismember(&mask_before, number));
  }

  for (int i = 0; i < 50; ++i) {
    boost::asio::io_context context;
    auto socket = connect_to_loopback(context, endpoint->port());
    boost::asio::write(socket, boost::asio::buffer(http_request("/metrics")));
    socket.set_option(boost::asio::socket_base::linger(true, 0));  // closing resets the connection
  }
  CHECK(http_get(endpoint->port(), "/metrics").head.starts_with("HTTP/1.1 200 "));
}

#else

TEST_CASE("without prometheus-cpp the exporter says what to do") {
  const Watched watched;
  CHECK(watched.exporter.text().error().code == Errc::NotSupported);
  const auto endpoint = watched.exporter.listen();
  REQUIRE_FALSE(endpoint);
  CHECK(endpoint.error().code == Errc::NotSupported);
  CHECK(endpoint.error().message.find("AMP4EC_WITH_PROMETHEUS") != std::string::npos);
}

#endif
