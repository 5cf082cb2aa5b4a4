// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "example_file.hpp"
#include "support/catch.hpp"

using namespace amp4ec::test;

TEST_CASE("inspect shows layers, cuts and measured times") {
  const Outcome outcome = run_command({"inspect", "lstm", "--json"});
  REQUIRE(outcome.exit == 0);
  const auto report = outcome.json();
  const auto& layers = report.at("layers").as_array();
  REQUIRE(layers.size() > 1);
  CHECK(report.at("cuts").as_array().size() == layers.size() - 1);
  double total_us = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    CHECK(layers[i].at("index").to_number<std::size_t>() == i);
    CHECK_FALSE(layers[i].at("name").as_string().empty());
    CHECK(layers[i].at("operators").as_array().size() == 1);
    CHECK(layers[i].at("flops").to_number<double>() >= 0);
    CHECK(layers[i].at("output_bytes").is_number());
    total_us += layers[i].at("time_us").to_number<double>();
  }
  CHECK(total_us > 0);
  for (const auto& cut : report.at("cuts").as_array()) {
    CHECK(cut.at("valid").as_bool() == cut.at("reason").as_string().empty());
    if (cut.at("valid").as_bool()) CHECK(cut.at("crossing_values").to_number<int>() >= 1);
  }
}

TEST_CASE("inspect --no-profile measures nothing") {
  const Outcome outcome = run_command({"inspect", "lstm", "--no-profile", "--json"});
  REQUIRE(outcome.exit == 0);
  const auto report = outcome.json();
  CHECK(report.at("whole_us").is_null());
  for (const auto& layer : report.at("layers").as_array()) CHECK(layer.at("time_us").is_null());
}

TEST_CASE("inspect takes a file and an example that torch.save wrote") {
  const TemporaryFolder folder;
  REQUIRE(run_command({"zoo", "lstm", "-o", folder.file("lstm.pt")}).exit == 0);
  write_example(folder.file("example.pt"), {1, 32, 64});
  const Outcome outcome = run_command(
      {"inspect", folder.file("lstm.pt"), "--example", folder.file("example.pt"), "--no-profile", "--leaves"});
  CHECK(outcome.exit == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.find("aten::lstm") != std::string::npos);
  CHECK(outcome.out.find("leaf module") != std::string::npos);
}
