// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "example_file.hpp"
#include "support/catch.hpp"

#include <filesystem>

using namespace amp4ec::test;

TEST_CASE("help and version are no errors") {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"--help"}, {"--version"}, {"run", "--help"}}) {
    const Outcome outcome = run_command(arguments);
    CHECK(outcome.exit == 0);
    CHECK_FALSE(outcome.out.empty());
    CHECK(outcome.err.empty());
  }
}

TEST_CASE("bad use ends with one clear line") {
  check_refused({}, 2, {"verb", "inspect"});
  check_refused({"frobnicate"}, 2, {"frobnicate", "inspect"});
  check_refused({"inspect"}, 2, {"MODEL"});
  check_refused({"inspect", "lstm", "--frobnicate"}, 2, {"--frobnicate"});
  check_refused({"zoo", "lstm"}, 2, {"-o"});
  check_refused({"zoo", "vgg", "-o", "vgg.pt"}, 2, {"vgg", "mobilenet_v2"});
  check_refused({"plan", "lstm"}, 2, {"--node"});
  check_refused({"plan", "lstm", "--node", "high"}, 2, {"high", "NAME:CPUS:MEMORY"});
  check_refused({"plan", "lstm", "--node", "a:-1:1GiB"}, 2, {"CPU quota"});
  check_refused({"plan", "lstm", "--node", "a:1:1GiB", "--node", "a:1:1GiB"}, 2, {"'a'"});
  check_refused({"plan", "lstm", "--node", "a:1:1GiB", "--strategy", "best"}, 2, {"best", "optimal"});
  check_refused({"plan", "lstm", "--node", "a:1:1GiB", "--strategy", "edgeshard"}, 2, {"edgeshard-latency"});
  check_refused({"plan", "lstm", "--node", "a:1:1GiB", "--objective", "beauty"}, 2, {"beauty", "throughput"});
  check_refused({"plan", "lstm", "--node", "a:1:1GiB", "--pipelines", "0"}, 2, {"--pipelines"});
  check_refused({"plan", "lstm", "--node", "a:1:1GiB", "--scale", "0"}, 2, {"--scale"});
  check_refused({"plan", "lstm", "--node", "a:1:1GiB", "--link", "a:b:1MB:1ms"}, 2, {"'b'"});
  check_refused({"split", "lstm"}, 2, {"--plan"});
  check_refused({"verify", "lstm", "--cuts", "none"}, 2, {"--cuts"});
  check_refused({"verify", "lstm", "--calls", "0"}, 2, {"--calls"});
  check_refused({"verify", "lstm", "--mode", "fast"}, 2, {"fast", "plain"});
  check_refused({"verify", "lstm", "--through", "air"}, 2, {"air", "memory"});
  check_refused({"run", "lstm", "--node", "a:1:0", "--policy", "luck"}, 2, {"luck", "round-robin"});
  check_refused({"run", "lstm", "--node", "a:1:0", "--workers", "goblin"}, 2, {"goblin", "process", "thread"});
  check_refused({"run", "lstm", "--node", "a:1:0", "--inflight", "-3"}, 2, {"--inflight"});
  check_refused({"run", "lstm", "--node", "a:1:0", "--requests", "5", "--seconds", "5"}, 2, {"--requests"});
}

TEST_CASE("what comes in a later version is refused, not ignored") {
  const std::vector<std::vector<std::string>> later = {
      {"--rate", "5"}, {"--arrivals", "poisson"}, {"--cache", "1MiB"}, {"--link", "a:b:1MB:1ms"}};
  for (const auto& option : later) {
    check_refused({"run", "lstm", "--node", "a:1:0", option[0], option[1]}, 2, {option[0], "later version"});
  }
}

TEST_CASE("an operator library that cannot be loaded is named") {
  check_refused({"inspect", "lstm", "--op-library", "/no/such/ops.so"}, 2, {"/no/such/ops.so", "operator library"});
  check_refused({"inspect", "lstm", "--op-library", "/proc/self/cmdline"}, 2, {"/proc/self/cmdline"});
}

TEST_CASE("bad input ends with one clear line") {
  const TemporaryFolder folder;
  const std::string model = folder.file("lstm.pt");
  REQUIRE(run_command({"zoo", "lstm", "-o", model}).exit == 0);
  const auto inspect = [&](const std::string& file, const std::string& input, const std::vector<std::string>& words) {
    check_refused({"inspect", file, "--no-profile", "--input", input}, 2, words);
  };

  inspect(folder.file("none.pt"), "1x32x64", {"FileNotFound", "none.pt"});
  inspect(folder.file("."), "1x32x64", {"FileNotFound"});
  write_text(folder.file("text.pt"), "hello, I am no model\n");
  inspect(folder.file("text.pt"), "1x32x64", {"NotTorchScript", "text.pt"});
  const std::string bytes = read_text(model);
  write_text(folder.file("half.pt"), std::string_view(bytes).substr(0, bytes.size() / 2));
  inspect(folder.file("half.pt"), "1x32x64", {"ModelCorrupt", "half.pt"});
  write_example(folder.file("data.pt"), {1, 32, 64});
  inspect(folder.file("data.pt"), "1x32x64", {"NotTorchScript", "data.pt"});

  check_refused({"inspect", model}, 2, {"--input", "--example"});
  inspect(model, "1x32x63", {"InputMismatch"});
  inspect(model, "1x32x64:int64", {"InputMismatch"});
  inspect(model, "1x32", {"InputMismatch"});
  check_refused({"inspect", model, "--input", "1x32x64", "--input", "1x32x64"}, 2, {"InputMismatch"});
  for (const char* input :
       {"", "x", "1x", "0x3", "1x-3", "1x3:double", "1x3:", "1x3:float:5", "1x3:int64:0", "99999x99999x99999"}) {
    inspect(model, input, {"input"});
  }
  check_refused({"inspect", model, "--example", folder.file("none")}, 2, {"FileNotFound"});
  check_refused({"inspect", model, "--example", folder.file("text.pt")}, 2, {"torch.save"});
}

TEST_CASE("an output that cannot be written is refused, a device never replaced") {
  const TemporaryFolder folder;
  check_refused({"zoo", "lstm", "-o", folder.file("no/such/lstm.pt")}, 2, {"no/such"});
  check_refused({"zoo", "lstm", "-o", folder.file(".")}, 2, {"plain file"});
  check_refused({"zoo", "lstm", "-o", "/dev/null"}, 2, {"/dev/null"});
  CHECK(std::filesystem::is_character_file("/dev/null"));
  check_refused({"plan", "lstm", "--node", "a:1:0", "-o", folder.file("no/plan.json")}, 2, {"no/plan.json"});
  check_refused({"plan", "lstm", "--node", "a:1:0", "--profile", folder.file("no/profile.json")}, 2,
                {"no/profile.json"});
}
