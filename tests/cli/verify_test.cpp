// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "model/support.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/operator_library.hpp>

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

TEST_CASE("a model with custom operators needs their library, in the command and in its workers") {
  REQUIRE(amp4ec::load_operator_library(AMP4EC_TEST_OPERATORS).has_value());
  const TemporaryFolder folder;
  const std::string file = folder.file("clipped.pt");
  module_from_classes(R"(
class M(Module):
  __parameters__ = []
  __buffers__ = []
  def forward(self: __torch__.M, x: Tensor) -> Tensor:
    y = ops.amp4ec_test.soft_clip(torch.mul(torch.sigmoid(x), 3.0), 1.5)
    return torch.add(torch.relu(y), 1.0)
)")
      .save(file);
  check_refused({"verify", file, "--input", "3x4"}, 2, {"amp4ec_test::soft_clip", "--op-library"});
  for (const std::string through : {"memory", "file", "process"}) {
    const Outcome outcome = run_command(
        {"verify", file, "--input", "3x4", "--op-library", AMP4EC_TEST_OPERATORS, "--through", through, "--json"});
    INFO(outcome.err);
    CHECK(outcome.exit == 0);
    CHECK(outcome.json().at("cuts_equal").to_number<int>() >= 3);
  }
}

TEST_CASE("verify tells people what it did") {
  const Outcome outcome = run_command({"verify", "lstm", "--cuts", "2"});
  CHECK(outcome.exit == 0);
  CHECK(outcome.out.find("2 tried with 4 inputs each, 2 equal") != std::string::npos);
}
