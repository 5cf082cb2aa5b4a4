// SPDX-License-Identifier: Apache-2.0
#include "runtime/stage_worker.hpp"

#include "model/wire.hpp"
#include "runtime/control_protocol.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>

namespace amp4ec::detail {

namespace {

constexpr std::chrono::seconds connect_timeout{10};

Result<ipc::MemoryFile> share_bytes(const std::string& name, std::string_view bytes) {
  auto file = ipc::MemoryFile::create(name, Bytes{bytes.size()});
  if (!file) return file.error();
  auto mapping = file->map();
  if (!mapping) return mapping.error();
  std::memcpy(mapping->bytes().data(), bytes.data(), bytes.size());
  return file;
}

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

Result<std::unique_ptr<StageWorker>> StageWorker::start(RuntimeState& runtime, Node* node, std::uint8_t id) {
  auto bell = ipc::EventFd::create();
  if (!bell) return bell.error();
  auto counters = ipc::WorkerCounters::create();
  if (!counters) return counters.error();
  std::unique_ptr<StageWorker> worker(
      new StageWorker(node, id, std::move(*bell), std::make_shared<ipc::WorkerCounters>(std::move(*counters))));
  worker->limits_own_memory_ = node != nullptr && runtime.capabilities.memory_rlimits;
  auto process = runtime.start_worker(node, worker->group_);
  if (!process) return process.error();
  worker->process_.emplace(std::move(*process));
  if (node != nullptr) node->workers.watch(worker->counters_);
  return worker;
}

Result<void> StageWorker::begin_load(const Segment& segment, Form form) {
  first_layer_ = segment.first_layer();
  last_layer_ = segment.last_layer();
  auto archive = segment.archive();
  if (!archive) return archive.error();
  auto file = share_bytes("amp4ec-segment", *archive);
  if (!file) return file.error();
  const std::array fds{file->fd(), counters_->fd(), bell_.fd()};
  auto sent = process_->send({{"op", "load"},
                              {"outputs", segment.output_count()},
                              {"form", to_string(form)},
                              {"memory_bytes", limits_own_memory_ ? node_->spec().memory.count : 0}},
                             fds);
  if (!sent) return explain(sent.error());
  return {};
}

Result<void> StageWorker::finish_load(std::chrono::nanoseconds timeout) {
  auto answer = process_->receive(timeout);
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

Result<void> StageWorker::connect(Direction direction, std::uint8_t peer, const ipc::Edge& edge,
                                  const ipc::EventFd& peer_bell) {
  const std::array fds{edge.fd(), peer_bell.fd()};
  auto answer =
      process_->call({{"op", "connect"}, {"direction", direction == Direction::In ? "in" : "out"}, {"peer", peer}}, fds,
                     connect_timeout);
  if (!answer) return explain(answer.error());
  return {};
}

Result<void> StageWorker::begin_measure(const ipc::MemoryFile& inputs, const Effort& effort,
                                        const ipc::MemoryFile* outputs) {
  const std::array fds{inputs.fd(), outputs == nullptr ? inputs.fd() : outputs->fd()};
  auto sent =
      process_->send({{"op", "measure"}, {"warm", effort.warm}, {"runs", effort.runs}, {"seconds", effort.seconds}},
                     std::span(fds).first(outputs == nullptr ? 1 : 2));
  if (!sent) return explain(sent.error());
  return {};
}

Result<StageWorker::Measurement> StageWorker::finish_measure(std::chrono::nanoseconds timeout) {
  auto answer = process_->receive(timeout);
  if (!answer) return explain(answer.error());
  const auto field = [&](std::string_view name) {
    const auto* value = answer->if_contains(name);
    boost::system::error_code failed;
    return value == nullptr ? 0.0 : value->to_number<double>(failed);
  };
  return Measurement{field("median_us"), field("p99_us"), field("spread"), field("runs"), field("seconds")};
}

std::string StageWorker::label() const {
  const std::string_view place = node_ == nullptr ? "profiling" : std::string_view(node_->name);
  return fmt::format("worker {} (layers {}-{}, process {})", place, first_layer_, last_layer_, process_->pid());
}

void StageWorker::leave_node() const {
  if (node_ != nullptr) node_->workers.forget(counters_);
}

Error StageWorker::reason_of_death() {
  const std::string how = process_->describe_end(std::chrono::milliseconds(1000));
  if (group_) {
    const auto usage = group_->read();
    if (usage && usage->oom_kills > 0) {
      return {Errc::OutOfMemory,
              fmt::format("{} was killed for memory: node '{}' has {}, the worker's peak was {}; give the node more or "
                          "fewer layers",
                          label(), node_->name, format_bytes(node_->spec().memory), format_bytes(usage->memory_peak))};
    }
  }
  return {Errc::WorkerDied, fmt::format("{} {}", label(), how)};
}

Error StageWorker::explain(const Error& error) {
  if (error.code == Errc::WorkerDied) return reason_of_death();
  return {error.code, fmt::format("{}: {}", label(), error.message)};
}

}  // namespace amp4ec::detail
