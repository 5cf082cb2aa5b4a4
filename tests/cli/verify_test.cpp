// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "support/catch.hpp"

using namespace amp4ec::test;

namespace {

/// Every cut equal; returns how many were tried.
std::size_t check_equal(std::vector<std::string> options) {
  options.insert(options.begin(), {"verify", "lstm", "--json"});
  const Outcome outcome = run_command(options);
  INFO(outcome.err);
  CHECK(outcome.exit == 0);
  const auto verdict = outcome.json();
  const auto valid = verdict.at("cuts_valid").to_number<std::size_t>();
  CHECK(verdict.at("cuts_equal").to_number<std::size_t>() == valid);
  CHECK(verdict.at("max_relative_error").to_number<double>() <= 1e-4);
  CHECK(verdict.at("seconds").to_number<double>() > 0);
  return valid;
}

}  // namespace

TEST_CASE("verify tries every valid cut in memory and through files") {
  const auto report = run_command({"inspect", "lstm", "--no-profile", "--json"}).json();
  std::size_t valid = 0;
  for (const auto& cut : report.at("cuts").as_array()) valid += cut.at("valid").as_bool() ? 1 : 0;
  REQUIRE(valid > 2);
  CHECK(check_equal({}) == valid);
  CHECK(check_equal({"--through", "file"}) == valid);
  CHECK(check_equal({"--through", "file", "--mode", "optimized", "--cuts", "2"}) == 2);
  CHECK(check_equal({"--mode", "optimized", "--calls", "6"}) == valid);
  CHECK(check_equal({"--cuts", "1"}) == 1);
}

TEST_CASE("verify through worker processes") {
  CHECK(check_equal({"--through", "process", "--cuts", "2"}) == 2);
  CHECK(check_equal({"--through", "process", "--cuts", "2", "--mode", "optimized"}) == 2);
}

TEST_CASE("verify tells people what it did") {
  const Outcome outcome = run_command({"verify", "lstm", "--cuts", "2"});
  CHECK(outcome.exit == 0);
  CHECK(outcome.out.find("2 tried with 4 inputs each, 2 equal") != std::string::npos);
}
