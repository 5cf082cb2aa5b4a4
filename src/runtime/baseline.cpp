// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/runtime/baseline.hpp>

#include "runtime/runtime_state.hpp"
#include "runtime/stage_worker.hpp"

#include <fmt/format.h>

#include <optional>

namespace amp4ec {

using detail::StageWorker;

struct Baseline::State {
  std::shared_ptr<detail::RuntimeState> runtime;
  ipc::MemoryFile inputs;
  std::vector<std::unique_ptr<StageWorker>> workers;  ///< One a node, in the runtime's order.
};

namespace {

constexpr std::chrono::seconds start_timeout{120};
constexpr std::size_t warm_runs = 4;

}  // namespace

Result<Baseline> Baseline::open(Runtime& runtime, const Model& model, const Values& example, Form form) {
  auto whole = model.segment(0, model.layer_count() - 1);
  if (!whole) return whole.error();
  auto checked = model.check_inputs(example);
  if (!checked) return checked.error();
  auto inputs = detail::share_values(*checked);
  if (!inputs) return inputs.error();
  auto state = std::make_unique<State>(State{runtime.state_, std::move(*inputs), {}});
  for (const auto& node : state->runtime->nodes) {
    auto worker = StageWorker::start(*state->runtime, node.get(), static_cast<std::uint8_t>(state->workers.size()));
    if (!worker) return worker.error();
    state->workers.push_back(std::move(*worker));
    if (auto sent = state->workers.back()->begin_load(*whole, form); !sent) return sent.error();
  }
  for (const auto& worker : state->workers) {
    if (auto loaded = worker->finish_load(start_timeout); !loaded) return loaded.error();
    if (auto sent = worker->begin_measure(state->inputs, {warm_runs, 0, 0}); !sent) return sent.error();
  }
  for (const auto& worker : state->workers) {
    if (auto warmed = worker->finish_measure(start_timeout); !warmed) return warmed.error();
  }
  return Baseline(std::move(state));
}

Baseline::Baseline(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Baseline::Baseline(Baseline&&) noexcept = default;
Baseline& Baseline::operator=(Baseline&&) noexcept = default;
Baseline::~Baseline() = default;

Result<std::vector<Rate>> Baseline::run(std::span<const std::size_t> nodes, std::chrono::milliseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  for (const std::size_t node : nodes) {
    if (node >= state_->workers.size()) return Error{Errc::InvalidArgument, fmt::format("there is no node {}", node)};
  }
  for (const std::size_t node : nodes) {
    if (auto sent = state_->workers[node]->begin_measure(state_->inputs, {0, 0, seconds}); !sent) return sent.error();
  }
  // Every answer is read, also after an error: the next run must not take it for its own.
  std::vector<Rate> rates;
  std::optional<Error> failure;
  for (const std::size_t node : nodes) {
    auto measured = state_->workers[node]->finish_measure(duration + start_timeout);
    if (measured) {
      rates.push_back({measured->runs / measured->seconds, measured->median_us / 1e3, measured->p99_us / 1e3});
    } else {
      failure = measured.error();
    }
  }
  if (failure) return *failure;
  return rates;
}

}  // namespace amp4ec
