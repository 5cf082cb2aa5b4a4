// SPDX-License-Identifier: Apache-2.0
#include "runtime/stage_worker.hpp"

#include "model/wire.hpp"
#include "runtime/control_protocol.hpp"

#include <fmt/format.h>

#include <array>

namespace amp4ec::detail {

namespace {

constexpr std::chrono::seconds answer_timeout{10};

}  // namespace

Result<ipc::MemoryFile> share_values(const Values& values) {
  const auto size = encoded_size(values);
  if (!size) return size.error();
  auto file = ipc::MemoryFile::create("amp4ec-inputs", Bytes{*size});
  if (!file) return file.error();
  auto mapping = file->map();
  if (!mapping) return mapping.error();
  if (auto written = encode(values, mapping->bytes()); !written) return written.error();
  return file;
}

Result<std::unique_ptr<StageWorker>> StageWorker::start(RuntimeState& runtime, Node* node, std::uint8_t id,
                                                        WorkerKind kind, std::chrono::microseconds spin) {
  auto bell = ipc::Bell::create();
  if (!bell) return bell.error();
  auto counters = ipc::WorkerCounters::create();
  if (!counters) return counters.error();
  std::unique_ptr<StageWorker> worker(new StageWorker(runtime, node, id, std::move(*bell),
                                                      std::make_shared<ipc::WorkerCounters>(std::move(*counters))));
  worker->limits_own_memory_ = kind == WorkerKind::process && node != nullptr && runtime.capabilities.memory_rlimits;
  worker->threads_ = RuntimeState::threads_on(node);
  auto started = runtime.start_worker(kind, node);
  if (!started) return started.error();
  worker->kind_ = kind;
  worker->spin_ = spin;
  worker->claims_node_ = node != nullptr && runtime.capabilities.cpu_limits;
  worker->quota_binds_ = started->quota_binds;
  if (started->group) worker->group_.emplace(std::move(*started->group));
  worker->worker_ = std::move(started->worker);
  if (node != nullptr) node->workers.watch(worker->counters_, worker->incoming_);
  return worker;
}

StageWorker::~StageWorker() {
  worker_.reset();
  if (node_ == nullptr) return;
  count_kills();
  if (claims_node_) node_->release(kind_);
}

Result<void> StageWorker::begin_load(const Segment& segment, Form form, const std::string& chosen) {
  first_layer_ = segment.first_layer();
  last_layer_ = segment.last_layer();
  counters_->set_layers(first_layer_, last_layer_);
  auto archive = runtime_->segments().archive_of(segment);
  if (!archive) return archive.error();
  archive_ = std::move(*archive);
  hash_ = segment.hash();
  auto bell = bell_.for_peer();
  if (!bell) return bell.error();
  const std::array fds{archive_->fd(), counters_->fd(), bell->get()};
  auto sent = worker_->send({{"op", "load"},
                             {"outputs", segment.output_count()},
                             {"form", to_string(form)},
                             {"chosen", chosen.empty() ? runtime_->segments().form_of(segment, threads_) : chosen},
                             {"memory_bytes", limits_own_memory_ ? node_->spec().memory.count : 0},
                             {"spin_us", spin_.count()}},
                            fds);
  if (!sent) return explain(sent.error());
  return {};
}

Result<void> StageWorker::finish_load(std::chrono::nanoseconds timeout) {
  auto answer = worker_->receive(timeout);
  if (!answer) return explain(answer.error());
  const auto* version = answer->if_contains("version");
  if (version == nullptr || *version != protocol_version) {
    return Error{Errc::ProtocolViolation,
                 "the worker executable is of another version of amp4ec; install both together"};
  }
  if (const auto* base = answer->if_contains("base_bytes"); base != nullptr && base_memory_.count == 0) {
    boost::system::error_code failed;
    base_memory_ = Bytes{base->to_number<std::uint64_t>(failed)};
  }
  return {};
}

void StageWorker::teach_form(const Segment& segment, const std::string& form) {
  if (!runtime_->segments().form_of(segment, threads_).empty()) return;
  runtime_->segments().remember_form(segment.hash(), threads_, form);
}

Result<void> StageWorker::learn_form() {
  const auto chosen = find_chosen_form();
  if (!chosen) return chosen.error();
  if (!chosen->empty()) runtime_->segments().remember_form(hash_, threads_, *chosen);
  return {};
}

Result<std::string> StageWorker::find_chosen_form() {
  auto answer = call({{"op", "chosen"}}, {}, answer_timeout);
  if (!answer) return answer.error();
  const auto* chosen = answer->if_contains("chosen");
  return chosen != nullptr && chosen->is_string() ? std::string(chosen->get_string()) : std::string();
}

Result<void> StageWorker::connect(Direction direction, std::uint8_t peer, const ipc::Edge& edge,
                                  const ipc::Bell& peer_bell, std::chrono::nanoseconds timeout) {
  const bool in = direction == Direction::In;
  auto bell = peer_bell.for_peer();
  if (!bell) return bell.error();
  const std::array fds{edge.fd(), in ? edge.consumer_files_fd() : edge.producer_files_fd(), bell->get()};
  auto answer = call({{"op", "connect"}, {"direction", in ? "in" : "out"}, {"peer", peer}}, fds, timeout);
  if (!answer) return answer.error();
  return {};
}

Result<void> StageWorker::give_inputs(const ipc::InputArena& inputs, std::chrono::nanoseconds timeout) {
  const std::array fds{inputs.fd()};
  auto answer = call({{"op", "inputs"}, {"slot_bytes", inputs.slot_bytes().count}}, fds, timeout);
  if (!answer) return answer.error();
  return {};
}

Result<void> StageWorker::begin_measure(const ipc::MemoryFile& inputs, const Effort& effort,
                                        const ipc::MemoryFile* outputs) {
  const std::array fds{inputs.fd(), outputs == nullptr ? inputs.fd() : outputs->fd()};
  auto sent =
      worker_->send({{"op", "measure"}, {"warm", effort.warm}, {"runs", effort.runs}, {"seconds", effort.seconds}},
                    std::span(fds).first(outputs == nullptr ? 1 : 2));
  if (!sent) return explain(sent.error());
  return {};
}

Result<StageWorker::Measurement> StageWorker::finish_measure(std::chrono::nanoseconds timeout) {
  auto answer = worker_->receive(timeout);
  if (!answer) return explain(answer.error());
  const auto field = [&](std::string_view name) {
    const auto* value = answer->if_contains(name);
    boost::system::error_code failed;
    return value == nullptr ? 0.0 : value->to_number<double>(failed);
  };
  return Measurement{field("median_us"), field("cpu_us"), field("p99_us"),
                     field("spread"),    field("runs"),   field("seconds")};
}

std::string StageWorker::label() const {
  const std::string_view place = node_ == nullptr ? "profiling" : std::string_view(node_->name);
  return fmt::format("worker {} (layers {}-{}, {})", place, first_layer_, last_layer_, worker_->name());
}

void StageWorker::leave_node() {
  if (node_ == nullptr) return;
  node_->workers.forget(counters_);
  count_kills();
}

void StageWorker::count_kills() {
  const auto details = group_ ? group_->read_details() : Result<cgroup::UsageDetails>(cgroup::UsageDetails{});
  if (!details || details->oom_kills <= counted_kills_) return;
  node_->add_oom_kills(details->oom_kills - counted_kills_);
  counted_kills_ = details->oom_kills;
}

Error StageWorker::reason_of_death() {
  const std::string how = worker_->describe_end(std::chrono::milliseconds(1000));
  if (group_) {
    const auto details = group_->read_details();
    if (details && details->oom_kills > 0) {
      return {Errc::OutOfMemory,
              fmt::format(
                  "{} was killed for memory: node '{}' has {}, the worker's peak {}; give the node more or fewer "
                  "layers",
                  label(), node_->name, format_bytes(node_->spec().memory),
                  details->memory_peak_known ? "was " + format_bytes(details->memory_peak) : "is not counted here")};
    }
  }
  return {Errc::WorkerDied, fmt::format("{} {}", label(), how)};
}

Result<boost::json::object> StageWorker::call(const boost::json::object& request, std::span<const int> fds,
                                              std::chrono::nanoseconds timeout) {
  asked_ = true;
  auto answer = worker_->call(request, fds, timeout);
  asked_ = false;
  if (!answer) return explain(answer.error());
  return answer;
}

Error StageWorker::explain(const Error& error) {
  if (error.code == Errc::WorkerDied) return reason_of_death();
  return {error.code, fmt::format("{}: {}", label(), error.message)};
}

}  // namespace amp4ec::detail
