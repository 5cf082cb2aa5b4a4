// SPDX-License-Identifier: Apache-2.0
#include "model/wire.hpp"
#include "runtime/session_state.hpp"

#include <amp4ec/model/compare.hpp>
#include <amp4ec/plan/validate.hpp>
#include <amp4ec/schedule/make_policy.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace amp4ec::detail {

namespace {

constexpr std::size_t warm_up_runs = 4;         // LibTorch settles within three calls.
constexpr std::size_t in_flight_per_stage = 4;  // A throttled node pauses; its neighbours go on meanwhile.
constexpr std::size_t max_workers = 200;        // Ids are one byte.

/// Opens one session, step by step; each step needs those before it.
class Opening {
 public:
  Opening(std::shared_ptr<RuntimeState> runtime, const Model& model, const Plan& plan, const Values& example,
          const SessionOptions& options)
      : runtime_(std::move(runtime)), model_(model), plan_(plan), example_(example), options_(options) {}

  Result<std::shared_ptr<SessionState>> run() {
    if (runtime_->io->get_executor().running_in_this_thread()) {
      return Error{Errc::NotSupported,
                   "a session cannot be opened on the runtime's own thread, which has to answer its first requests; "
                   "open it on another"};
    }
    if (auto done = learn_sizes(); !done) return done.error();
    if (auto done = check_plan(); !done) return done.error();
    if (auto done = start_workers(); !done) return done.error();
    if (auto done = connect_workers(); !done) return done.error();
    return warm_and_check();
  }

 private:
  Result<void> learn_sizes() {
    auto policy = make_policy(options_.policy);
    if (!policy) return policy.error();
    policy_ = std::move(*policy);

    auto graph = model_.layer_graph(example_);
    if (!graph) return graph.error();
    graph_ = std::move(*graph);
    auto reference = model_.reference_executor();
    if (!reference) return reference.error();
    auto inputs = model_.check_inputs(example_);
    if (!inputs) return inputs.error();
    // A model that keeps state answers differently from call to call.
    const std::size_t calls = model_.has_state() ? warm_up_runs : 1;
    for (std::size_t call = 0; call < calls; ++call) {
      auto answer = (*reference)->run(*inputs);
      if (!answer) return Error{Errc::InputMismatch, answer.error().message};
      answers_.push_back(answer->front().clone());  // It may lie in the state, which the next call changes.
    }
    const auto input_size = encoded_size(*inputs);
    const auto output_size = encoded_size({answers_.back()});
    if (!input_size) return input_size.error();
    if (!output_size) return output_size.error();
    input_size_ = Bytes{*input_size};
    output_size_ = Bytes{*output_size};
    return {};
  }

  Result<void> check_plan() {
    if (!plan_.model_hash.empty() && plan_.model_hash != model_.hash()) {
      return Error{Errc::PlanInvalid, fmt::format("the plan was made for model {}, this is model {}; plan again",
                                                  plan_.model_hash, model_.hash())};
    }
    if (auto valid = validate_plan(plan_, graph_, runtime_->specs()); !valid) return valid;
    std::size_t stages = 0;
    for (const Pipeline& pipeline : plan_.pipelines) {
      if (pipeline.stages.size() > ipc::Descriptor::max_route) {
        return Error{Errc::NotSupported, fmt::format("a pipeline of {} stages; at most {} are possible",
                                                     pipeline.stages.size(), ipc::Descriptor::max_route)};
      }
      stages += pipeline.stages.size();
      Route route;
      for (const Stage& stage : pipeline.stages) route.push_back(worker_id(stage));
      routes_.push_back(std::move(route));
    }
    if (stages_.size() > max_workers)
      return Error{Errc::NotSupported, fmt::format("more than {} workers in one session", max_workers)};
    max_in_flight_ = options_.max_in_flight != 0 ? options_.max_in_flight : in_flight_per_stage * stages;
    return {};
  }

  /// Pipelines share a worker when node and layers are the same.
  std::uint8_t worker_id(const Stage& stage) {
    const auto key = std::tuple(stage.node, stage.first_layer, stage.last_layer);
    const auto [entry, added] = ids_.emplace(key, static_cast<std::uint8_t>(stages_.size()));
    if (added) stages_.push_back(stage);
    return entry->second;
  }

  Result<void> start_workers() {
    for (std::size_t id = 0; id < stages_.size(); ++id) {
      auto segment = model_.segment(stages_[id].first_layer, stages_[id].last_layer);
      if (!segment) return segment.error();
      auto worker = StageWorker::start(*runtime_, runtime_->find_node(stages_[id].node), static_cast<std::uint8_t>(id),
                                       options_.workers, options_.spin);
      if (!worker) return worker.error();
      workers_.push_back(std::move(*worker));
      if (!stages_[id].form.empty()) workers_.back()->teach_form(*segment, stages_[id].form);
      if (auto sent = workers_.back()->begin_load(*segment, options_.form); !sent) return sent;
      segments_.push_back(std::move(*segment));
    }
    const auto deadline = std::chrono::steady_clock::now() + options_.start_timeout;
    for (const auto& worker : workers_) {
      const auto left = deadline - std::chrono::steady_clock::now();
      if (auto loaded = worker->finish_load(std::max(left, left.zero())); !loaded) return loaded;
    }
    return {};
  }

  Result<void> connect_workers() {
    auto bell = ipc::Bell::create();
    if (!bell) return bell.error();
    // Requests that were cancelled, or sent again elsewhere, keep their places until a worker has passed over them.
    const auto places = static_cast<std::uint32_t>(2 * max_in_flight_ + options_.max_waiting);
    auto inputs = ipc::InputArena::create(places, input_size_ + 4_KiB);
    if (!inputs) return inputs.error();
    // As many slots as requests in flight: a slot is back before its request ends, so nobody waits for one unless
    // requests are sent again.
    wiring_.emplace(Wiring{static_cast<std::uint32_t>(max_in_flight_),
                           std::move(*inputs),
                           std::move(*bell),
                           std::vector<Wiring::Ends>(workers_.size()),
                           {},
                           options_.start_timeout});
    for (std::size_t id = 0; id < workers_.size(); ++id) {
      if (stages_[id].last_layer + 1 == graph_.layers.size()) wiring_->ends[id].result = output_size_;
    }
    std::set<std::pair<std::uint8_t, std::uint8_t>> pairs;
    for (const Route& route : routes_) {
      wiring_->ends[route.front()].takes_inputs = true;
      for (std::size_t hop = 0; hop + 1 < route.size(); ++hop) pairs.emplace(route[hop], route[hop + 1]);
    }
    for (const auto& [from, to] : pairs) {
      wiring_->pairs.push_back({from, to, graph_.cuts[stages_[from].last_layer].message});
    }

    for (const auto& worker : workers_) {
      auto ends = wiring_->connect_host(*worker);
      if (!ends) return ends.error();
      ends_.push_back(std::move(*ends));
    }
    for (const Wiring::Pair& pair : wiring_->pairs) {
      if (auto connected = wiring_->connect(pair, *workers_[pair.from], *workers_[pair.to]); !connected)
        return connected;
    }
    return {};
  }

  [[nodiscard]] bool has(const Stage& stage, bool (*is_meant)(const Layer&)) const {
    const auto first = graph_.layers.begin() + static_cast<std::ptrdiff_t>(stage.first_layer);
    const auto last = graph_.layers.begin() + static_cast<std::ptrdiff_t>(stage.last_layer) + 1;
    return std::any_of(first, last, is_meant);
  }

  Result<std::shared_ptr<SessionState>> warm_and_check() {
    std::vector<SessionStage> stages;
    for (std::size_t id = 0; id < workers_.size(); ++id) {
      const bool stateful = has(stages_[id], [](const Layer& layer) { return layer.stateful; });
      stages.push_back({segments_[id], stateful, std::move(workers_[id]), std::move(ends_[id])});
    }
    auto bell = ipc::Bell::create();
    if (!bell) return bell.error();
    auto state = std::make_shared<SessionState>(SessionParts{runtime_, model_, options_, max_in_flight_,
                                                             std::move(stages), routes_, std::move(*wiring_),
                                                             std::move(policy_), std::move(*bell)});
    Result<void> ready = state->start();
    if (ready) ready = warm_routes(*state);
    if (ready && differs_) ready = fall_back(*state);
    if (ready) ready = state->learn_forms();
    if (ready) ready = reset_state(*state);
    if (ready) {
      state->begin_repairs();
      return state;
    }
    state->close();
    return ready.error();
  }

  Result<void> warm_routes(SessionState& state) {
    for (std::size_t route = 0; route < routes_.size() && !differs_; ++route) {
      if (auto warm = warm_route(state, route); !warm) return warm;
    }
    return {};
  }

  /// Each stage answers as its plain form does, but the model may amplify what is left, or not bear it at all.
  Result<void> fall_back(SessionState& state) {
    state.set_form(Form::Plain);
    if (auto loaded = reload(state, [](const Layer&) { return true; }); !loaded) return loaded;
    differs_ = false;
    return warm_routes(state);
  }

  Result<void> warm_route(SessionState& state, std::size_t route) {
    for (std::size_t run = 0; run < warm_up_runs; ++run) {
      const auto answer = state.infer(example_, {}, route);
      if (!answer && state.form() != Form::Plain && is_of_the_model(answer.error())) differs_ = true;
      if (differs_) return {};
      if (!answer) return answer.error();
      if (auto equal = check_answer(*answer, answers_[run % answers_.size()], state.form(), route); !equal)
        return equal;
    }
    return {};
  }

  /// Another form may bear what this one does not, or give answers of another size.
  static bool is_of_the_model(const Error& error) {
    return error.code == Errc::ExecutionFailed || error.code == Errc::MessageTooLarge;
  }

  /// Loads those segments again that the warm-up has left with another state than they begin with.
  Result<void> reset_state(SessionState& state) {
    return reload(state, [](const Layer& layer) { return layer.stateful; });
  }

  /// Loads the segments again that hold such a layer.
  Result<void> reload(SessionState& state, bool (*is_meant)(const Layer&)) {
    for (std::size_t id = 0; id < stages_.size(); ++id) {
      if (!has(stages_[id], is_meant)) continue;
      if (auto loaded = state.reload(id, options_.start_timeout); !loaded) return loaded;
    }
    return {};
  }

  /// Sets `differs_` where the plain form is left to be tried.
  Result<void> check_answer(const Value& answer, const Value& expected, Form form, std::size_t route) {
    const bool random =
        std::any_of(graph_.layers.begin(), graph_.layers.end(), [](const Layer& layer) { return layer.random; });
    if (random) return {};
    const Difference difference = compare(answer, expected);
    if (form != Form::Plain && difference.relative_error > options_.optimized_tolerance()) differs_ = true;
    if (differs_ || difference.relative_error <= options_.tolerance) return {};
    return Error{
        Errc::ExecutionFailed,
        fmt::format("pipeline {} answers differently from the unsplit model: relative error {:.2e}, accepted {:.0e}; "
                    "raise SessionOptions::tolerance if that is enough",
                    route, difference.relative_error, options_.tolerance)};
  }

  std::shared_ptr<RuntimeState> runtime_;
  const Model& model_;
  const Plan& plan_;
  const Values& example_;
  const SessionOptions& options_;

  LayerGraph graph_;
  std::vector<Value> answers_;  ///< To the example: one, or for a model with state one for each warm-up run.
  Bytes input_size_;
  Bytes output_size_;
  std::unique_ptr<Policy> policy_;
  std::map<std::tuple<std::string, std::size_t, std::size_t>, std::uint8_t> ids_;
  std::vector<Stage> stages_;  ///< Index: worker id.
  std::vector<Route> routes_;
  std::size_t max_in_flight_ = 0;
  std::vector<Segment> segments_;
  std::vector<std::unique_ptr<StageWorker>> workers_;
  std::optional<Wiring> wiring_;
  std::vector<HostEnds> ends_;
  bool differs_ = false;
};

}  // namespace

Result<std::shared_ptr<SessionState>> open_session(const std::shared_ptr<RuntimeState>& runtime, const Model& model,
                                                   const Plan& plan, const Values& example,
                                                   const SessionOptions& options) {
  return Opening(runtime, model, plan, example, options).run();
}

}  // namespace amp4ec::detail
