// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "support/catch.hpp"

#include <amp4ec/cgroup/host_group.hpp>
#include <amp4ec/cgroup/thread_group.hpp>
#include <amp4ec/plan/json_text.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <csignal>
#include <sstream>
#include <utility>

using namespace amp4ec::test;

namespace {
std::vector<boost::json::object> lines_of(const Outcome& outcome) {
  std::vector<boost::json::object> objects;
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) {
    const auto parsed = amp4ec::parse_json(line);
    REQUIRE(parsed.has_value());
    objects.push_back(parsed->as_object());
  }
  return objects;
}

/// The nodes of this name, as one look shows them.
boost::json::array look_at(const std::string& node) {
  const Outcome outcome = run_command({"top", "--json", "--iterations", "1", "--interval", "0.2", "--node", node});
  REQUIRE(outcome.exit == 0);
  return lines_of(outcome).at(0).at("nodes").as_array();
}
}  // namespace

TEST_CASE("top without anything to show says so, and succeeds") {
  const Outcome text = run_command({"top", "--once", "--interval", "0.05", "--node", "no-such-node"});
  CHECK(text.exit == 0);
  CHECK(text.err.empty());
  CHECK(text.out == "no node of amp4ec on this machine\n");
  const Outcome json =
      run_command({"top", "--json", "--iterations", "3", "--interval", "0.05", "--node", "no-such-node"});
  CHECK(json.exit == 0);
  const auto lines = lines_of(json);
  REQUIRE(lines.size() == 3);
  for (const auto& line : lines) CHECK(line.at("nodes").as_array().empty());
  CHECK(lines[0].at("time").to_number<double>() < lines[2].at("time").to_number<double>());
}

TEST_CASE("top sees the nodes and workers of another host while it runs") {
  Command host({"run", "lstm", "--node", "top-test:0.5:256MiB", "--profile", lstm_profile(), "--pipelines", "1",
                "--seconds", "600", "--policy", "round-robin"});
  REQUIRE(host.wait_for_worker());
  boost::json::object node;
  while (node.empty()) {
    for (const auto& found : look_at("top-test")) {
      const auto& workers = found.at("workers").as_array();
      const bool is_serving = !workers.empty() && workers[0].at("requests").is_number() &&
                              found.at("requests_done").to_number<double>() > 0;
      if (is_serving && found.at("host").at("pid") == host.pid()) node = found.as_object();
    }
    if (groups_left(host.pid()).empty() && workers_of(host.pid()) == 0) {
      WARN("skipped: no groups can be made here");
      return;
    }
  }
  host.signal(SIGINT);  // Killed, it would leave its workers and groups to the tests that follow.
  (void)host.wait();
  CHECK(node.at("cpu_quota").to_number<double>() == Approx(0.5));
  CHECK(node.at("memory_limit_bytes").to_number<std::uint64_t>() == 256U << 20U);
  CHECK(node.at("cpu_used").to_number<double>() > 0);
  CHECK(node.at("memory_bytes").to_number<std::uint64_t>() > 0);
  CHECK(node.at("alive").as_bool());
  const auto& worker = node.at("workers").at(0);
  CHECK(worker.at("pid").to_number<int>() > 0);
  CHECK(worker.at("errors") == 0);
  CHECK(worker.at("mean_service_us").to_number<double>() > 0);
}

TEST_CASE("top sees the worker threads of another host") {
  const auto hierarchy = amp4ec::cgroup::Hierarchy::detect();
  if (!hierarchy || !amp4ec::cgroup::ThreadGroup::create(*hierarchy, *amp4ec::cgroup::thread_group_name())) {
    WARN("not tested: no groups for threads can be made here");
    return;
  }
  Command host({"run", "lstm", "--node", "thread-test:0.5:256MiB", "--profile", lstm_profile(), "--pipelines", "1",
                "--workers", "thread", "--seconds", "600"});
  const pid_t host_pid = host.pid();
  boost::json::object node;
  boost::json::object thread;
  while (thread.empty()) {
    for (const auto& found : look_at("thread-test")) {
      if (found.at("host").at("pid") != host_pid) continue;
      for (const auto& worker : found.at("workers").as_array()) {
        const bool serves = worker.at("thread").is_number() && found.at("requests_done").to_number<double>() > 0;
        if (!serves) continue;
        node = found.as_object();
        thread = worker.as_object();
      }
    }
  }
  host.signal(SIGINT);
  (void)host.wait();
  CHECK(node.at("cpu_quota").to_number<double>() == Approx(0.5));
  CHECK(node.at("cpu_used").to_number<double>() > 0);
  CHECK(node.at("alive").as_bool());
  CHECK(thread.at("worker").as_string().starts_with("thread-"));
  CHECK(thread.at("pid") == host_pid);
  CHECK(thread.at("thread") != host_pid);
  CHECK(thread.at("first_layer") == 0);
  CHECK(thread.at("requests").to_number<double>() > 0);
  CHECK(thread.at("memory_bytes").is_null());  // A thread has none of its own.
}

TEST_CASE("top shows a worker that stands still as stalled") {
  Command host({"run", "lstm", "--node", "stall-test:0.5:256MiB", "--profile", lstm_profile(), "--pipelines", "1",
                "--seconds", "600", "--stall-timeout", "600"});
  REQUIRE(host.wait_for_worker());
  const auto look = [] {
    const auto nodes = look_at("stall-test");
    return nodes.empty() ? boost::json::object() : nodes[0].as_object();
  };
  boost::json::object node;
  pid_t stopped = 0;
  while (node.empty() || node.at("node_state") != "stalled") {
    node = look();
    if (node.empty() && groups_left(host.pid()).empty() && workers_of(host.pid()) == 0) {
      WARN("not tested: no groups can be made here");
      return;
    }
    if (node.empty() || node.at("workers").as_array().empty()) continue;
    const auto& worker = node.at("workers").at(0);
    const auto pid = worker.at("pid").is_number() ? worker.at("pid").to_number<pid_t>() : 0;
    const bool has_work = worker.at("state") == "busy" || worker.at("queue_depth").to_number<double>() > 0;
    if (stopped == 0 && has_work && pid != 0) {
      REQUIRE(::kill(pid, SIGSTOP) == 0);
      stopped = pid;
    } else if (stopped != 0 && !has_work && worker.at("state") != "stalled") {
      REQUIRE(::kill(std::exchange(stopped, 0), SIGCONT) == 0);  // It was between two requests.
    }
  }
  CHECK(node.at("workers").at(0).at("state") == "stalled");
  CHECK(node.at("workers").at(0).at("pid") == stopped);
  const Outcome text = run_command({"top", "--once", "--interval", "0.2", "--node", "stall-test"});
  CHECK(text.out.find("stalled") != std::string::npos);
  REQUIRE(::kill(stopped, SIGCONT) == 0);
  host.signal(SIGINT);
  (void)host.wait();
}

TEST_CASE("bad use of top ends with one clear line") {
  check_refused({"top", "--interval", "0"}, 2, {"--interval"});
  check_refused({"top", "--iterations", "0"}, 2, {"--iterations"});
  check_refused({"top", "--once", "--iterations", "3"}, 2, {"--once"});
}
