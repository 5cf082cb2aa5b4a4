// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker_loop.hpp"

#include "model/in_place_executor.hpp"
#include "model/wire.hpp"
#include "runtime/control_protocol.hpp"
#include "runtime/probe_child.hpp"
#include "runtime/ungrouped_limits.hpp"
#include "runtime/worker_process.hpp"

#include <amp4ec/ipc/bell.hpp>
#include <amp4ec/ipc/clock.hpp>
#include <amp4ec/ipc/control_channel.hpp>
#include <amp4ec/ipc/edge_consumer.hpp>
#include <amp4ec/ipc/edge_producer.hpp>
#include <amp4ec/ipc/input_arena.hpp>
#include <amp4ec/ipc/memory_file.hpp>
#include <amp4ec/ipc/wait_until.hpp>
#include <amp4ec/ipc/worker_counters.hpp>
#include <amp4ec/model/operator_library.hpp>
#include <amp4ec/model/segment_executor.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>
#include <optional>

#include <poll.h>
#include <unistd.h>

namespace amp4ec::detail {

namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

/// Of the whole process, which a measurement has for itself.
double cpu_time_us() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

double number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  boost::system::error_code failed;
  return value == nullptr ? 0 : value->to_number<double>(failed);
}

std::string_view text(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

/// One worker: a segment, the edges that lead to it and from it, one thread that serves both host and requests.
class WorkerLoop {
 public:
  explicit WorkerLoop(ipc::ControlChannel channel) : channel_(std::move(channel)) {}

  int run() try {
    while (true) {
      const bool worked = take_requests();
      if (!worked && spin_for_message()) continue;
      // Whoever serves the next message at once looks for control messages in between.
      const bool goes_on = pending() || (worked && spin_ > spin_.zero());
      pollfd waits[2] = {{channel_.fd(), POLLIN, 0}, {bell_ ? bell_->fd() : -1, POLLIN, 0}};
      if (poll(waits, 2, goes_on ? 0 : -1) < 0) continue;
      if (waits[0].revents != 0 && !take_control_message()) return served;
      // Silenced before the next look: a message that arrives after it rings again.
      if (waits[1].revents != 0) (void)bell_->drain();
    }
  } catch (const Stop& stop) {
    return stop.status;
  }

 private:
  /// Thrown where there is nothing left to serve.
  struct Stop {
    int status;
  };

  // -- control -------------------------------------------------------------------------------------------------------

  bool take_control_message() {
    auto message = channel_.receive(std::chrono::seconds(1));
    if (!message) return message.error().code == Errc::WorkerUnresponsive;
    const auto answer = answer_to(*message);
    return static_cast<bool>(channel_.send(answer ? json::serialize(*answer) : error_text(answer.error())));
  }

  Result<json::object> answer_to(ipc::ControlMessage& message) {
    boost::system::error_code failed;
    const json::value request = json::parse(message.text, failed);
    if (failed || !request.is_object()) return Error{Errc::ProtocolViolation, "the request is not a JSON object"};
    const auto& object = request.get_object();
    const std::string_view op = text(object, "op");
    if (op == "operators" && message.fds.empty()) return load_operators(object);
    if (op == "probe" && (message.fds.size() == 1 || message.fds.size() == 2)) return probe(object, message.fds);
    if (op == "load" && message.fds.size() == 3) return load(object, message.fds);
    if (op == "inputs" && message.fds.size() == 1) return take_inputs(object, message.fds);
    if (op == "connect" && message.fds.size() == 3) return connect(object, message.fds);
    if (op == "chosen" && message.fds.empty() && executor_) return json::object{{"chosen", chosen_form(*executor_)}};
    if (op == "measure" && (message.fds.size() == 1 || message.fds.size() == 2)) return measure(object, message.fds);
    return Error{Errc::ProtocolViolation, fmt::format("no operation '{}' with {} descriptors", op, message.fds.size())};
  }

  static Result<json::object> load_operators(const json::object& request) {
    if (auto loaded = load_operator_library(std::string(text(request, "library"))); !loaded) return loaded.error();
    return json::object{};
  }

  static Result<json::object> probe(const json::object& request, const std::vector<ipc::UniqueFd>& fds) {
    ProbeRequest probe;
    probe.name = text(request, "file");
    probe.file = fds[0].get();
    if (fds.size() == 2) probe.example = fds[1].get();
    probe.memory = Bytes{static_cast<std::uint64_t>(number(request, "memory_bytes"))};
    probe.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(number(request, "timeout_ms")));
    if (auto sound = probe_in_child(probe); !sound) return sound.error();
    return json::object{};
  }

  Result<json::object> load(const json::object& request, std::vector<ipc::UniqueFd>& fds) {
    const auto form = parse_form(text(request, "form"));
    if (!form) return form.error();
    const std::uint64_t base = resident_memory(getpid()).anonymous.count;
    auto counters = ipc::WorkerCounters::attach(std::move(fds[1]));
    if (!counters) return counters.error();
    counters_.emplace(std::move(*counters));
    bell_.emplace(ipc::Bell::adopt(std::move(fds[2])));

    const auto start = Clock::now();
    auto file = ipc::MemoryFile::adopt(std::move(fds[0]));
    if (!file) return file.error();
    auto archive = file->map_private();
    if (!archive) return archive.error();
    const auto mapping = std::make_shared<const ipc::Mapping<std::byte>>(std::move(*archive));
    // After mapping: what the worker shares is none of its own.
    if (const auto memory = static_cast<std::uint64_t>(number(request, "memory_bytes")); memory > 0) {
      if (auto limited = limit_own_memory(Bytes{memory}); !limited) return limited.error();
    }
    executor_.reset();  // There need not be memory for two.
    auto executor =
        make_executor_in_place(mapping->bytes(), mapping, static_cast<std::size_t>(number(request, "outputs")), *form,
                               text(request, "chosen"));
    if (!executor) return executor.error();
    executor_ = std::move(*executor);
    spin_ = std::clamp(std::chrono::microseconds(static_cast<std::int64_t>(number(request, "spin_us"))),
                       std::chrono::microseconds(0), longest_spin);
    counters_->set_phase(ipc::WorkerPhase::ready);
    return json::object{{"version", protocol_version}, {"base_bytes", base}, {"load_us", microseconds_since(start)}};
  }

  Result<json::object> take_inputs(const json::object& request, std::vector<ipc::UniqueFd>& fds) {
    const Bytes slot{static_cast<std::uint64_t>(number(request, "slot_bytes"))};
    auto view = ipc::InputArenaView::open(std::move(fds[0]), slot);
    if (!view) return view.error();
    arena_.emplace(std::move(*view));
    return json::object{};
  }

  /// What was still to come from a peer that is replaced is dropped: the host sends those requests again.
  Result<json::object> connect(const json::object& request, std::vector<ipc::UniqueFd>& fds) {
    auto edge = ipc::Edge::open(std::move(fds[0]), std::move(fds[1]));
    if (!edge) return edge.error();
    auto peer_bell = ipc::Bell::adopt(std::move(fds[2]));
    const auto peer = static_cast<std::uint8_t>(number(request, "peer"));
    if (text(request, "direction") == "in") {
      auto consumer = ipc::EdgeConsumer::attach(*edge, std::move(peer_bell));
      if (!consumer) return consumer.error();
      inputs_.insert_or_assign(peer, std::move(*consumer));
    } else {
      auto producer = ipc::EdgeProducer::attach(*edge, std::move(peer_bell));
      if (!producer) return producer.error();
      outputs_.insert_or_assign(peer, std::move(*producer));
    }
    return json::object{};
  }

  Result<json::object> measure(const json::object& request, std::vector<ipc::UniqueFd>& fds) {
    if (!executor_) return Error{Errc::ProtocolViolation, "nothing is loaded that could be measured"};
    auto file = ipc::MemoryFile::adopt(std::move(fds[0]));
    if (!file) return file.error();
    auto mapped = file->map_read_only();
    if (!mapped) return mapped.error();
    // In place, as requests are: a copy would count as the segment's memory.
    const auto message = std::make_shared<ipc::Mapping<const std::byte>>(std::move(*mapped));
    auto inputs = decode_in_place(message->bytes(), message);
    if (!inputs) return inputs.error();

    for (auto warm = number(request, "warm"); warm > 0; --warm) {
      if (auto output = executor_->run(*inputs); !output) return output.error();
    }
    if (fds.size() == 2) {
      if (auto kept = keep_output(*inputs, std::move(fds[1])); !kept) return kept.error();
    }
    const auto runs = static_cast<std::size_t>(number(request, "runs"));
    const auto until_us = number(request, "seconds") * 1e6;
    std::vector<double> times;
    const auto cpu_start = cpu_time_us();
    const auto start = Clock::now();
    while (times.size() < runs || microseconds_since(start) < until_us) {
      const auto began = Clock::now();
      if (auto output = executor_->run(*inputs); !output) return output.error();
      times.push_back(microseconds_since(began));
    }
    const double elapsed_us = microseconds_since(start);
    const double cpu_us = cpu_time_us() - cpu_start;
    std::sort(times.begin(), times.end());
    const auto quantile = [&](double q) {
      return times.empty() ? 0 : times[static_cast<std::size_t>(q * static_cast<double>(times.size() - 1))];
    };
    const double median = quantile(0.5);
    return json::object{
        {"runs", times.size()},     {"seconds", elapsed_us / 1e6},
        {"median_us", median},      {"cpu_us", times.empty() ? 0 : cpu_us / static_cast<double>(times.size())},
        {"p99_us", quantile(0.99)}, {"spread", median > 0 ? (quantile(0.75) - quantile(0.25)) / median : 0}};
  }

  /// Runs once and leaves the result where the host can read it, or hand it to the next segment's `measure`.
  Result<void> keep_output(const Values& inputs, ipc::UniqueFd fd) {
    auto file = ipc::MemoryFile::adopt(std::move(fd));
    if (!file) return file.error();
    auto memory = file->map();
    if (!memory) return memory.error();
    auto outputs = executor_->run(inputs);
    if (!outputs) return outputs.error();
    auto length = encode(*outputs, memory->bytes());
    if (!length) return length.error();
    return {};
  }

  // -- requests ------------------------------------------------------------------------------------------------------

  /// One message from each edge, so that no predecessor starves another. True when there was any.
  bool take_requests() {
    bool any = false;
    // While a slot is waited for, the host may replace a peer and its edges: no iterator lasts.
    for (auto entry = inputs_.begin(); entry != inputs_.end();) {
      const std::uint8_t peer = entry->first;
      auto message = entry->second.try_receive();
      if (message && *message) {
        any = true;
        serve_request(std::make_shared<ipc::EdgeConsumer::Message>(std::move(**message)), peer);
      }
      if (!message) accuse(peer, message.error());
      entry = inputs_.upper_bound(peer);
    }
    if (any) last_worked_ = Clock::now();
    return any;
  }

  /// Looks for the next message for as long as the session wants, from the last one on.
  [[nodiscard]] bool spin_for_message() const {
    while (Clock::now() - last_worked_ < spin_) {
      if (pending()) return true;
      ipc::detail::relax_cpu();
    }
    return false;
  }

  /// Nothing from this peer can be read any more. The host replaces it and, since nobody can tell whose fault it is,
  /// this worker as well.
  void accuse(std::uint8_t peer, const Error& error) {
    if (peer == host_id || error.code != Errc::ProtocolViolation) throw Stop{protocol_broken};
    inputs_.erase(peer);
    auto outgoing = error_message(error, {}, peer);
    (void)outgoing.edge->publish(std::move(outgoing.slot), outgoing.descriptor);
  }

  [[nodiscard]] bool pending() const {
    return std::any_of(inputs_.begin(), inputs_.end(), [](const auto& entry) { return entry.second.pending(); });
  }

  /// Messages behind the one in hand.
  [[nodiscard]] std::uint64_t waiting() const {
    std::uint64_t sum = 0;
    for (const auto& entry : inputs_) sum += entry.second.waiting();
    return sum;
  }

  void serve_request(std::shared_ptr<ipc::EdgeConsumer::Message> message, std::uint8_t from) {
    const auto start = Clock::now();
    ipc::Descriptor descriptor = message->descriptor();
    const std::uint64_t now = ipc::monotonic_ns();
    counters_->begin(descriptor.request_id, std::chrono::nanoseconds(now - std::min(now, descriptor.sent_ns)));
    counters_->add_received(Bytes{descriptor.length + descriptor.input_length});
    counters_->set_queued(waiting());
    descriptor.hop = static_cast<std::uint8_t>(std::min<int>(descriptor.hop + 1, descriptor.route_length));

    std::optional<std::uint8_t> at_fault;
    auto result = run_segment(std::move(message), descriptor, from, at_fault);
    const bool succeeded = result.has_value();
    Outgoing outgoing = succeeded ? std::move(*result) : error_message(result.error(), descriptor, at_fault);
    // Counted before anybody can learn of the result: whoever has an answer finds it in the counters.
    counters_->add_sent(Bytes{outgoing.descriptor.length});
    counters_->complete(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start), succeeded);
    // A peer that is slow is waited for, as where a slot is missing.
    auto published = outgoing.edge->publish(std::move(outgoing.slot), outgoing.descriptor, ipc::forever);
    // Where the peer has died, the host sends the request again.
    if (published || published.error().code == Errc::WorkerDied) return;
    // A large message could not go: the host learns why.
    outgoing = error_message(published.error(), descriptor);
    (void)outgoing.edge->publish(std::move(outgoing.slot), outgoing.descriptor);
  }

  /// A message that is written and not yet sent.
  struct Outgoing {
    ipc::EdgeProducer* edge;
    ipc::EdgeProducer::Slot slot;
    ipc::Descriptor descriptor;
  };

  /// Runs the segment and writes the result for the next worker on the route, or for the host. `at_fault`: the peer
  /// whose memory could not be read, with ProtocolViolation.
  Result<Outgoing> run_segment(std::shared_ptr<ipc::EdgeConsumer::Message> message, ipc::Descriptor descriptor,
                               std::uint8_t from, std::optional<std::uint8_t>& at_fault) {
    const std::uint8_t to = descriptor.destination().value_or(host_id);
    const auto output = outputs_.find(to);
    if (output == outputs_.end()) {
      return Error{Errc::ProtocolViolation, "the route leads to a worker that is not connected"};
    }
    // The tensors keep the input's slot. It is free again when this function returns, before anybody learns of the
    // result: then as many slots as requests are enough.
    auto inputs = read_inputs(message);
    message.reset();
    if (!inputs) {
      if (inputs.error().code == Errc::ProtocolViolation && from != host_id) at_fault = from;
      return inputs.error();
    }
    auto results = executor_->run(*inputs);
    if (!results) return results.error();
    auto slot = acquire(output->second);
    if (!slot) {
      if (to != host_id) at_fault = to;
      return slot.error();
    }
    auto length = encode(*results, slot->payload());
    if (!length && length.error().code == Errc::MessageTooLarge) length = encode_in_own_file(*results, *slot);
    if (!length) return length.error();
    descriptor.kind = ipc::MessageKind::value;
    descriptor.length = *length;
    descriptor.input_length = 0;
    return Outgoing{&output->second, std::move(*slot), descriptor};
  }

  /// Results that are larger than those of the session's example.
  static Result<std::size_t> encode_in_own_file(const Values& results, ipc::EdgeProducer::Slot& slot) {
    auto size = encoded_size(results);
    if (!size) return size;
    if (auto reserved = slot.reserve(Bytes{*size}); !reserved) return reserved.error();
    return encode(results, slot.payload());
  }

  /// The tensors lie in the message, or where it says; their storage keeps the message.
  Result<Values> read_inputs(const std::shared_ptr<ipc::EdgeConsumer::Message>& message) const {
    const ipc::Descriptor& descriptor = message->descriptor();
    if (descriptor.kind != ipc::MessageKind::input) return decode_in_place(message->payload(), message);
    if (!arena_) return Error{Errc::ProtocolViolation, "an input lies where this worker has not been shown"};
    const auto payload = arena_->payload(descriptor.input_slot, descriptor.input_length);
    if (!payload) return payload.error();
    // Nobody writes there: an executor copies what the model writes, and the mapping is read-only.
    auto* bytes = const_cast<std::byte*>(payload->data());
    return decode_in_place(std::span(bytes, payload->size()), message);
  }

  /// Waits for a slot. The host may replace the peer, and this edge with it, meanwhile.
  Result<ipc::EdgeProducer::Slot> acquire(ipc::EdgeProducer& output) {
    while (true) {
      auto slot = output.try_acquire();
      if (!slot) return slot.error();
      if (*slot) return std::move(**slot);
      (void)bell_->drain();
      if (output.slot_available()) continue;
      pollfd waits[2] = {{channel_.fd(), POLLIN, 0}, {bell_->fd(), POLLIN, 0}};
      if (poll(waits, 2, -1) < 0) continue;
      if (waits[0].revents != 0 && !take_control_message()) throw Stop{served};
    }
  }

  /// Errors go straight to the host, whatever is left of the route.
  Outgoing error_message(const Error& error, ipc::Descriptor descriptor,
                         std::optional<std::uint8_t> at_fault = std::nullopt) {
    auto& host = outputs_.at(host_id);
    auto slot = acquire(host);
    if (!slot) throw Stop{protocol_broken};
    constexpr std::size_t longest = 1000;  // LibTorch can print whole programs.
    const std::string what = error_text({error.code, error.message.substr(0, longest)}, at_fault);
    descriptor.kind = ipc::MessageKind::error;
    descriptor.hop = descriptor.route_length;
    descriptor.input_length = 0;
    descriptor.length = std::min(what.size(), slot->payload().size());
    std::memcpy(slot->payload().data(), what.data(), descriptor.length);
    return {&host, std::move(*slot), descriptor};
  }

  ipc::ControlChannel channel_;
  std::optional<ipc::Bell> bell_;
  std::optional<ipc::WorkerCounters> counters_;
  std::unique_ptr<SegmentExecutor> executor_;
  std::optional<ipc::InputArenaView> arena_;
  std::chrono::microseconds spin_{};
  Clock::time_point last_worked_;
  std::map<std::uint8_t, ipc::EdgeConsumer> inputs_;
  std::map<std::uint8_t, ipc::EdgeProducer> outputs_;
};

}  // namespace

int serve_requests(ipc::ControlChannel channel) {
  return WorkerLoop(std::move(channel)).run();
}

}  // namespace amp4ec::detail
