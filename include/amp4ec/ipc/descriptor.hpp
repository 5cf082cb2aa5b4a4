// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace amp4ec::ipc {

/// What the payload of a message is.
enum class MessageKind : std::uint8_t {
  value = 0,  ///< The inputs or outputs of a segment.
  error = 1,  ///< A failed request: code and text of its Error.
  input = 2,  ///< A value that lies in a slot of the session's InputArena; the message's own slot is empty.
};

/// One message on an Edge, without its payload: 64 bytes, one cache line. Copied whole, never read in place.
struct Descriptor {
  static constexpr std::size_t max_route = 13;

  std::uint64_t request_id = 0;  ///< Unique within a session; the same on every hop.
  std::uint32_t generation =
      0;                      ///< Incarnation of the plan that issued the request; answers of an older one are dropped.
  std::uint32_t slot = 0;     ///< Where the payload lies. Set by `EdgeProducer::publish`.
  std::uint64_t length = 0;   ///< Bytes of payload.
  std::uint64_t sent_ns = 0;  ///< `monotonic_ns()` of the hop's start. Set by `EdgeProducer::publish`.
  MessageKind kind = MessageKind::value;
  std::uint8_t hop = 0;           ///< Where in `route` this message is going; route_length means the host.
  std::uint8_t route_length = 0;  ///< Workers on the route.
  std::array<std::uint8_t, max_route> route{};  ///< Worker ids in the order they are visited.
  std::uint64_t input_length = 0;               ///< Bytes in `input_slot`.
  std::uint32_t input_slot = 0;                 ///< Of the session's InputArena; for `MessageKind::input`.
  std::uint32_t attempt = 0;  ///< How often the request was sent before: answers to an earlier attempt are dropped.

  /// The worker this message goes to; none: it goes back to the host.
  [[nodiscard]] std::optional<std::uint8_t> destination() const noexcept {
    if (hop >= route_length || hop >= max_route) return std::nullopt;
    return route[hop];
  }

  bool operator==(const Descriptor&) const = default;
};

static_assert(sizeof(Descriptor) == 64 && std::is_trivially_copyable_v<Descriptor>);
static_assert(std::has_unique_object_representations_v<Descriptor>, "padding would leak the writer's memory");

}  // namespace amp4ec::ipc
