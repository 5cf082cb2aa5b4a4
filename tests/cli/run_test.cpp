// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "support/catch.hpp"

#include <cmath>

using namespace amp4ec::test;

TEST_CASE("run serves a pipeline, compares every answer and measures the limit") {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_command({"run", "lstm", "--node", "high:0.6:1GiB", "--node", "low:0.4:1GiB", "--pipelines", "1", "--seconds",
                   "2", "--baseline", "--profile", lstm_profile(), "--json"});
  INFO(outcome.err);
  REQUIRE(outcome.exit == 0);
  const auto report = outcome.json();
  CHECK(report.at("equal").as_bool());
  CHECK(report.at("requests").to_number<int>() > 8);
  CHECK(report.at("lost") == 0);
  CHECK(report.at("duplicated") == 0);
  CHECK(report.at("restarts") == 0);
  CHECK(report.at("moves") == 0);
  CHECK(report.at("cache").at("hits") == 0);
  CHECK_FALSE(report.at("oversubscribed").as_bool());
  for (const char* figure : {"throughput_rps", "limit_rps", "ideal_rps", "efficiency"}) {
    INFO(figure);
    CHECK(report.at(figure).to_number<double>() > 0);
  }
  for (const char* figure : {"mean", "p50", "p90", "p99"}) {
    CHECK(report.at("latency_ms").at(figure).to_number<double>() > 0);
  }
  CHECK(report.at("predicted").at("throughput_rps").to_number<double>() > 0);
  const auto& planned = report.at("pipelines").at(0).at("stages").as_array();
  REQUIRE(report.at("stages").as_array().size() == planned.size());
  for (const auto& stage : report.at("stages").as_array()) {
    CHECK(stage.at("busy").to_number<double>() > 0);
    CHECK(stage.at("service_us").to_number<double>() > 0);
    CHECK(stage.at("hop_us").to_number<double>() > 0);
    CHECK(stage.at("rss_bytes").to_number<double>() > 0);
    CHECK(stage.at("memory_peak_bytes").to_number<double>() > 0);
    CHECK(stage.at("throttled_us").to_number<double>() >= 0);
  }
  CHECK_FALSE(report.at("timeline").as_array().empty());
  const auto& can = report.at("capabilities").as_object();
  CHECK(can.at("cgroups").is_string());
  for (const char* what : {"cpusets", "pid_limits", "freezing", "thread_groups", "cpu_affinity", "memory_rlimits"}) {
    INFO(what);
    CHECK(can.at(what).is_bool());
  }
  CHECK(report.at("baseline").as_array().size() == 4);  // both nodes, single, all
  CHECK(report.at("baseline").at(0).at("node") == "high");

  SECTION("a report is a plan, and people can read the run") {
    write_text(folder.file("report.json"), outcome.out);
    const Outcome again =
        run_command({"run", "lstm", "--plan", folder.file("report.json"), "--node", "high:0.6:1GiB", "--node",
                     "low:0.4:1GiB", "--requests", "40", "--inflight", "3", "--mode", "plain"});
    INFO(again.err);
    CHECK(again.exit == 0);
    CHECK(again.out.find("every answer equal (40 answers") != std::string::npos);
    CHECK(again.out.find("limit: bare replicas") != std::string::npos);
    CHECK(again.out.find("cgroups " + std::string(can.at("cgroups").as_string()) + ":") != std::string::npos);
  }
  SECTION("the plan's nodes must be there") {
    write_text(folder.file("report.json"), outcome.out);
    check_refused({"run", "lstm", "--plan", folder.file("report.json"), "--node", "other:0.6:1GiB"}, 2,
                  {"PlanInvalid", "no such node"});
  }
}

TEST_CASE("run counts requests exactly over several pipelines") {
  const Outcome outcome =
      run_command({"run", "lstm", "--node", "a:0.5:0", "--node", "b:0.5:0", "--profile", lstm_profile(), "--pipelines",
                   "2", "--requests", "101", "--policy", "round-robin", "--json"});
  INFO(outcome.err);
  REQUIRE(outcome.exit == 0);
  const auto report = outcome.json();
  CHECK(report.at("requests") == 101);
  CHECK(report.at("lost") == 0);
  CHECK(report.at("equal").as_bool());
  std::uint64_t served = 0;
  for (const auto& stage : report.at("stages").as_array()) served += stage.at("requests").to_number<std::uint64_t>();
  CHECK(served == 101);
}

TEST_CASE("run refuses what does not fit") {
  check_refused({"run", "lstm", "--node", "tiny:1.0:1MiB", "--profile", lstm_profile()}, 1, {"PlanInfeasible", "tiny"});
}
