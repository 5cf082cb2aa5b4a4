// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace amp4ec::test;

namespace {

/// Two stages of 10 and 20 ms, and a whole-model replica of 40 ms.
constexpr const char* plan_to_simulate = R"({
  "schema": 1,
  "pipelines": [
    {"stages": [
      {"node": "a", "first_layer": 0, "last_layer": 3, "time_us": 10000, "memory_bytes": 1048576, "crossing_bytes": 10000},
      {"node": "b", "first_layer": 4, "last_layer": 9, "time_us": 20000, "memory_bytes": 1048576}]},
    {"stages": [
      {"node": "c", "first_layer": 0, "last_layer": 9, "time_us": 40000, "memory_bytes": 1048576}]}
  ]
})";

/// `amp4ec simulate` of the plan above on its nodes, with further arguments.
std::vector<std::string> simulate_with(const TemporaryFolder& folder, const std::vector<std::string>& more) {
  write_text(folder.file("plan.json"), plan_to_simulate);
  std::vector<std::string> arguments = {
      "simulate", folder.file("plan.json"), "--node", "a:1.0:0", "--node", "b:0.6:1GiB", "--node", "c:0.4:1GiB"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

TEST_CASE("simulate keeps a plan full and reports what run reports") {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_command(simulate_with(folder, {"--link", "a:b:10MB:1ms", "--requests", "5000", "--json"}));
  INFO(outcome.err);
  REQUIRE(outcome.exit == 0);
  CHECK(outcome.err.empty());
  const auto report = outcome.json();
  CHECK(report.at("throughput_rps").to_number<double>() == Approx(75).epsilon(0.01));
  for (const char* figure : {"mean", "p50", "p90", "p99"}) {
    CHECK(report.at("latency_ms").at(figure).to_number<double>() > 32);
  }
  CHECK(report.at("requests") == 5000);
  CHECK(report.at("lost") == 0);
  CHECK(report.at("duplicated") == 0);
  CHECK(report.at("refused") == 0);
  CHECK(report.at("stable").as_bool());
  const auto& stages = report.at("stages").as_array();
  REQUIRE(stages.size() == 3);
  CHECK(stages[1].at("node") == "b");
  CHECK(stages[1].at("busy").to_number<double>() == Approx(1).epsilon(0.01));
  CHECK(stages[1].at("service_us").to_number<double>() == Approx(20'000));
  REQUIRE(report.at("links").as_array().size() == 1);
  CHECK(report.at("links").at(0).at("busy").to_number<double>() == Approx(0.1).epsilon(0.01));
  CHECK(report.at("nodes").as_array().size() == 3);
  CHECK(report.at("timeline").as_array().size() > 60);
  CHECK(report.at("timeline").at(5).at("throughput_rps").to_number<double>() == Approx(75).margin(2));

  SECTION("a report is a plan") {
    write_text(folder.file("report.json"), outcome.out);
    const Outcome again = run_command({"simulate", folder.file("report.json"), "--node", "a:1.0:0", "--node", "b:0.6:0",
                                       "--node", "c:0.4:0", "--inflight", "1", "--requests", "10"});
    INFO(again.err);
    CHECK(again.exit == 0);
    CHECK(again.out.find("10 requests (1 in flight)") != std::string::npos);
  }
}

TEST_CASE("simulate takes a rate, and tells when it is too much") {
  const TemporaryFolder folder;
  const auto at = [&](const char* rate, const char* arrivals) {
    const auto outcome = run_command(simulate_with(folder, {"--rate", rate, "--arrivals", arrivals, "--json"}));
    REQUIRE(outcome.exit == 0);
    return outcome.json();
  };
  const auto calm = at("20", "constant");
  CHECK(calm.at("stable").as_bool());
  CHECK(calm.at("throughput_rps").to_number<double>() == Approx(20).epsilon(0.01));
  const auto poisson = at("60", "poisson");
  CHECK(poisson.at("stable").as_bool());
  CHECK(poisson.at("latency_ms").at("p99").to_number<double>() > calm.at("latency_ms").at("p99").to_number<double>());
  const auto flooded = at("100", "poisson");
  CHECK_FALSE(flooded.at("stable").as_bool());
  CHECK(flooded.at("throughput_rps").to_number<double>() == Approx(75).epsilon(0.02));

  const auto text = run_command(simulate_with(folder, {"--rate", "100"}));
  CHECK(text.exit == 0);
  CHECK(text.out.find("NOT stable") != std::string::npos);
}

TEST_CASE("simulate lets nodes and links fail") {
  const TemporaryFolder folder;
  const auto repaired = run_command(simulate_with(
      folder, {"--link", "a:b:10MB:1ms", "--fail", "a:b@5:3", "--fail", "c@20:5", "--requests", "3000", "--json"}));
  INFO(repaired.err);
  REQUIRE(repaired.exit == 0);
  const auto report = repaired.json();
  CHECK(report.at("answered") == 3000);
  CHECK(report.at("replayed").to_number<int>() > 0);
  CHECK(report.at("timeline").at(6).at("throughput_rps").to_number<double>() == Approx(25).margin(2));
  CHECK(report.at("timeline").at(22).at("throughput_rps").to_number<double>() == Approx(50).margin(2));
  REQUIRE(report.at("events").as_array().size() == 4);
  CHECK(report.at("events").at(0).at("what") == "link 'a:b' fails");

  const auto ended = run_command(simulate_with(folder, {"--fail", "a@5", "--fail", "c@6", "--json"}));
  CHECK(ended.exit == 1);
  CHECK(ended.err.find("were lost") != std::string::npos);
  CHECK(ended.json().at("lost").to_number<int>() > 0);
}

TEST_CASE("simulate is the same for the same seed") {
  const TemporaryFolder folder;
  const auto run = [&](const char* seed) {
    return run_command(simulate_with(folder, {"--rate", "50", "--noise", "lognormal:0.3", "--quota", "periods",
                                              "--mean-life", "20", "--mean-repair", "0.5", "--seed", seed, "--json"}))
        .out;
  };
  const std::string first = run("1");
  CHECK(run("1") == first);
  CHECK(run("2") != first);
}

TEST_CASE("simulate refuses what makes no sense") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::vector<std::string>& more, const std::vector<std::string>& words) {
    check_refused(simulate_with(folder, more), 2, words);
  };
  refused({"--rate", "-5"}, {"-5", "arrival rate"});
  refused({"--rate", "nan"}, {"arrival rate"});
  refused({"--arrivals", "poisson"}, {"--rate"});
  refused({"--rate", "5", "--arrivals", "sometimes"}, {"sometimes", "constant"});
  refused({"--rate", "5", "--inflight", "5"}, {"--inflight"});
  refused({"--inflight", "0"}, {"0 requests in flight"});
  refused({"--requests", "0"}, {"0 requests"});
  refused({"--policy", "luck"}, {"luck", "round-robin"});
  refused({"--noise", "loud"}, {"loud", "lognormal"});
  refused({"--noise", "lognormal=1"}, {"lognormal:0.1"});
  refused({"--quota", "odd"}, {"odd", "periods"});
  refused({"--fail", "a"}, {"NAME@SECOND"});
  refused({"--fail", "z@5"}, {"'z'", "no such node"});
  refused({"--fail", "a:b@5"}, {"a:b", "no such link"});
  refused({"--scale", "0.5"}, {"--profile"});
  refused({"--profile", folder.file("none.json")}, {"FileNotFound", "none.json"});
  check_refused({"simulate"}, 2, {"PLAN"});
  check_refused({"simulate", folder.file("none.json"), "--node", "a:1:0"}, 2, {"FileNotFound", "none.json"});
  check_refused({"simulate", folder.file("plan.json")}, 2, {"--node"});
  check_refused({"simulate", folder.file("plan.json"), "--node", "a:1:0"}, 2, {"PlanInvalid", "no such node"});
  check_refused({"simulate", folder.file("plan.json"), "--node", "a:1:4kB", "--node", "b:1:0", "--node", "c:1:0"}, 1,
                {"PlanInfeasible", "'a'"});
  write_text(folder.file("half.json"), "{");
  check_refused({"simulate", folder.file("half.json"), "--node", "a:1:0"}, 2, {"JsonInvalid", "half.json"});
}
