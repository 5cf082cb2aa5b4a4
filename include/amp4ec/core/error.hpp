// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/system/result.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec {

/// Every way in which amp4ec can fail. Codes are stable; each block of one hundred belongs to one floor of the library.
enum class Errc : std::uint16_t {
  // 100: what the caller asked for
  InvalidArgument = 100,  ///< A value is out of its range or has the wrong form.
  NotSupported = 101,     ///< The request is understood, but this build, kernel or version cannot serve it.
  Internal = 102,         ///< A broken invariant of amp4ec itself; please report it.

  // 200: models and segments
  FileNotFound = 200,          ///< The file does not exist or may not be read.
  NotTorchScript = 201,        ///< The file is not an archive that `torch::jit::save` wrote.
  ModelCorrupt = 202,          ///< The archive looks like TorchScript, but LibTorch cannot load it.
  ModelRejected = 203,         ///< The module loads, but has no `forward` method or cannot be lowered.
  InputMismatch = 204,         ///< Number, type or shape of the inputs is not what the module takes.
  ExecutionFailed = 205,       ///< An operator raised an exception while a segment ran.
  ValueNotTransferable = 206,  ///< A value of this type cannot cross between segments.
  CutRejected = 207,           ///< A plan cuts where a cut would change the answer.

  // 300: plans
  PlanInvalid = 300,     ///< The plan contradicts the model, the nodes or itself.
  PlanInfeasible = 301,  ///< No plan fits the nodes; the message names the binding limit.
  ProfileInvalid = 302,  ///< A profile holds impossible figures or belongs to another model.
  JsonInvalid = 303,     ///< A text is not JSON or lacks a field.

  // 400: limits of the machine
  PermissionDenied = 400,   ///< The kernel refuses: privileges are missing.
  CgroupUnavailable = 401,  ///< No usable cgroup hierarchy for this controller.
  CgroupFailed = 402,       ///< A cgroup could not be created, read, changed or removed.
  SystemCall = 403,         ///< A system call failed; the message has its name and errno.
  OutOfMemory = 404,        ///< A worker was killed for exceeding its node's memory limit.

  // 500: workers and sessions
  WorkerNotFound = 500,      ///< The worker executable cannot be found or started.
  WorkerDied = 501,          ///< The worker that held the request ended before answering.
  WorkerUnresponsive = 502,  ///< The worker did not answer within its time limit.
  ProtocolViolation = 503,   ///< A peer sent what its protocol does not allow.
  SessionClosed = 504,       ///< The session is closing or closed.
  StateLost = 505,           ///< The worker that kept the model's state ended; the state begins anew.

  // 600: requests
  Overloaded = 600,          ///< The limit of requests in flight is reached; try later or raise the limit.
  MessageTooLarge = 601,     ///< The values do not fit the shared-memory slot that the session set up.
  NoRoute = 602,             ///< No live worker can take the request.
  RequestKillsWorker = 603,  ///< Two workers ended while they executed this request: it is not sent to a third.
  DeadlineExceeded = 604,    ///< The request's own deadline passed before its answer.
  Cancelled = 605,           ///< The caller cancelled the request.
};

/// The enumerator's name, e.g. "PlanInfeasible"; for logs, JSON and tests.
constexpr std::string_view to_string(Errc code) noexcept {
  switch (code) {
    case Errc::InvalidArgument: return "InvalidArgument";
    case Errc::NotSupported: return "NotSupported";
    case Errc::Internal: return "Internal";
    case Errc::FileNotFound: return "FileNotFound";
    case Errc::NotTorchScript: return "NotTorchScript";
    case Errc::ModelCorrupt: return "ModelCorrupt";
    case Errc::ModelRejected: return "ModelRejected";
    case Errc::InputMismatch: return "InputMismatch";
    case Errc::ExecutionFailed: return "ExecutionFailed";
    case Errc::ValueNotTransferable: return "ValueNotTransferable";
    case Errc::CutRejected: return "CutRejected";
    case Errc::PlanInvalid: return "PlanInvalid";
    case Errc::PlanInfeasible: return "PlanInfeasible";
    case Errc::ProfileInvalid: return "ProfileInvalid";
    case Errc::JsonInvalid: return "JsonInvalid";
    case Errc::PermissionDenied: return "PermissionDenied";
    case Errc::CgroupUnavailable: return "CgroupUnavailable";
    case Errc::CgroupFailed: return "CgroupFailed";
    case Errc::SystemCall: return "SystemCall";
    case Errc::OutOfMemory: return "OutOfMemory";
    case Errc::WorkerNotFound: return "WorkerNotFound";
    case Errc::WorkerDied: return "WorkerDied";
    case Errc::WorkerUnresponsive: return "WorkerUnresponsive";
    case Errc::ProtocolViolation: return "ProtocolViolation";
    case Errc::SessionClosed: return "SessionClosed";
    case Errc::StateLost: return "StateLost";
    case Errc::Overloaded: return "Overloaded";
    case Errc::MessageTooLarge: return "MessageTooLarge";
    case Errc::NoRoute: return "NoRoute";
    case Errc::RequestKillsWorker: return "RequestKillsWorker";
    case Errc::DeadlineExceeded: return "DeadlineExceeded";
    case Errc::Cancelled: return "Cancelled";
  }
  return "Unknown";
}

/// An error is a code to branch on and one sentence for a person: what failed, where, and what to do about it.
struct Error {
  Errc code = Errc::Internal;
  std::string message;

  /// "PlanInfeasible: no node holds ..."
  [[nodiscard]] std::string what() const { return std::string(to_string(code)) + ": " + message; }
};

/// Thrown only by `Result<T>::value()` on an error: amp4ec itself reports by value.
class Exception : public std::runtime_error {
 public:
  explicit Exception(Error error) : std::runtime_error(error.what()), error_(std::move(error)) {}
  [[nodiscard]] const Error& error() const noexcept { return error_; }

 private:
  Error error_;
};

[[noreturn]] inline void throw_exception_from_error(const Error& error, const boost::source_location& /*where*/) {
  throw Exception(error);
}

/// Either a `T` or an `Error`, never both, never neither. `value()` throws `Exception` when it holds an error.
template <class T>
using Result = boost::system::result<T, Error>;

}  // namespace amp4ec
