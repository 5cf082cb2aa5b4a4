// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <boost/json.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace amp4ec::detail {

// What host and worker say to each other on the control channel: one JSON object a message, each answered by one.
// Host and worker are of one build; the first answer carries the protocol version and a mismatch is refused.
//
// To a fork server:
// op        fields                              descriptors                     answer
// fork      -                                   the worker's channel, status    pid, and its pidfd
//
// To a worker, which waits for a first message of any kind before it does anything:
// op        fields                              descriptors                     answer
// load      outputs, form, chosen,              archive, counters, doorbell     version, base_bytes, load_us
//           memory_bytes, spin_us
// chosen    -                                   -                               chosen
// operators library                             -                               -
// probe     file, memory_bytes, timeout_ms      model[, example]                -
// inputs    slot_bytes                          arena                           -
// connect   direction "in"|"out", peer          edge, its socket for files,     -
//                                               the peer's doorbell
// measure   warm, runs, seconds                 inputs[, room for the outputs]  runs, seconds, median_us, cpu_us,
//                                                                               p99_us, spread
//
// status: the writing end of a pipe, which gets what wait says when the worker has ended.
// chosen: the form that a worker has found to be the fastest for this archive; empty where that is not known.
// memory_bytes of `load` is a limit for the worker to set itself, 0 where its group holds it.
// An answer to a failed request is {"error": code, "message": text}. The end of the channel ends the worker.
// An error on the edge to the host may hold "peer": the worker that wrote what this one cannot read. Its request, if
// any, has not been executed.

inline constexpr std::int64_t protocol_version = 1;

inline constexpr std::chrono::microseconds longest_spin{10'000};  ///< See SessionOptions::spin.

/// Worker id that stands for the host in `connect`; routes never hold it.
inline constexpr std::uint8_t host_id = 0xFF;

/// `peer`: who is to blame.
inline std::string error_text(const Error& error, std::optional<std::uint8_t> peer = std::nullopt) {
  boost::json::object object{{"error", static_cast<int>(error.code)}, {"message", error.message}};
  if (peer) object["peer"] = *peer;
  return boost::json::serialize(object);
}

struct ReportedError {
  Error error;
  std::optional<std::uint8_t> peer;
};

/// The error that a peer reported, or that its text is none.
inline ReportedError parse_report(std::string_view text) {
  boost::json::parse_options options;
  options.allow_invalid_utf8 = true;  // A message may have been cut inside a character.
  boost::system::error_code failed;
  const auto value = boost::json::parse(boost::json::string_view(text.data(), text.size()), failed, {}, options);
  const auto* object = failed ? nullptr : value.if_object();
  const auto* code = object == nullptr ? nullptr : object->if_contains("error");
  const auto* message = object == nullptr ? nullptr : object->if_contains("message");
  if (code == nullptr || !code->is_int64() || message == nullptr || !message->is_string()) {
    return {{Errc::ProtocolViolation, "a worker sent an error that cannot be read"}, std::nullopt};
  }
  const auto known = static_cast<Errc>(code->get_int64());
  ReportedError report{
      {to_string(known) == "Unknown" ? Errc::ProtocolViolation : known, std::string(message->get_string())},
      std::nullopt};
  const auto* peer = object->if_contains("peer");
  if (peer != nullptr && peer->is_int64() && peer->get_int64() >= 0 && peer->get_int64() < host_id) {
    report.peer = static_cast<std::uint8_t>(peer->get_int64());
  }
  return report;
}

inline Error parse_error(std::string_view text) {
  return parse_report(text).error;
}

}  // namespace amp4ec::detail
