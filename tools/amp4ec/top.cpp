// SPDX-License-Identifier: Apache-2.0
#include "interrupt.hpp"
#include "output.hpp"
#include "screen.hpp"
#include "top_report.hpp"
#include "verb.hpp"

#include <amp4ec/monitor/machine_watch.hpp>

#include <CLI/CLI.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace amp4ec::cli {
namespace {

struct TopOptions {
  double interval = 1;           // seconds
  std::uint64_t iterations = 0;  // 0: until interrupted
  bool once = false;
  bool json = false;
  std::vector<std::string> nodes;
};

using Clock = std::chrono::steady_clock;

/// False when a signal came first.
bool wait_until(Clock::time_point when, const Interrupt& interrupt) {
  constexpr std::chrono::milliseconds patience{50};
  while (!interrupt) {
    const auto left = when - Clock::now();
    if (left <= Clock::duration::zero()) return true;
    std::this_thread::sleep_for(std::min<Clock::duration>(left, patience));
  }
  return false;
}

std::vector<WatchedNode> wanted_nodes(const MachineWatch& watch, const std::vector<std::string>& names) {
  auto nodes = watch.nodes();
  std::erase_if(nodes, [&](const WatchedNode& node) {
    return !names.empty() && std::ranges::find(names, node.sample.node) == names.end();
  });
  return nodes;
}

Result<Exit> run_top(const TopOptions& options, const Interrupt& interrupt) {
  auto watch = MachineWatch::create();
  if (!watch) return watch.error();
  const std::uint64_t iterations = options.once ? 1 : options.iterations;
  const auto interval = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.interval));
  Screen screen;
  watch->look();
  auto due = Clock::now();
  for (std::uint64_t shown = 0; iterations == 0 || shown < iterations; ++shown) {
    due = std::max(due + interval, Clock::now());  // a late look does not cause a burst
    if (!wait_until(due, interrupt)) break;
    watch->look();
    const auto nodes = wanted_nodes(*watch, options.nodes);
    const auto printed =
        options.json ? print(boost::json::serialize(top_json(nodes)) + "\n") : screen.show(top_text(nodes));
    if (!printed) return printed.error();
  }
  return Exit::success;
}

}  // namespace

void add_top(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* verb = app.add_subcommand("top", "Watch the nodes and workers of all amp4ec hosts on this machine");
  verb->add_option("--interval", options->interval, "Seconds between two looks")
      ->check(CLI::Range(0.01, 86400.0))
      ->capture_default_str();
  auto* iterations =
      verb->add_option("--iterations", options->iterations, "End after so many; without it, when interrupted")
          ->check(CLI::Range(1, 1'000'000'000));
  verb->add_flag("--once", options->once, "Show one interval, then end")->excludes(iterations);
  verb->add_option("--node", options->nodes, "Only nodes of this name; may be given several times");
  verb->add_flag("--json", options->json, "Print one JSON object a line and interval");
  verb->callback(
      [options, &chosen] { chosen = [options](const Interrupt& interrupt) { return run_top(*options, interrupt); }; });
}

}  // namespace amp4ec::cli
