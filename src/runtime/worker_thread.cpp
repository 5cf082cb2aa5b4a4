// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker_thread.hpp"

#include "runtime/worker_loop.hpp"

#include <amp4ec/ipc/bell.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <condition_variable>
#include <exception>
#include <future>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <dlfcn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace amp4ec::detail {

namespace {

/// For the calling thread alone: at::set_num_threads would set it for all that come after as well. Without OpenMP,
/// operators use LibTorch's own pool, which belongs to the process.
void set_operator_threads(unsigned count) {
  at::internal::lazy_init_num_threads();  // It sets the process's number, once in each thread: before ours.
  using SetNumThreads = void (*)(int);
  // Which OpenMP it is, LibTorch has decided.
  static const auto set = reinterpret_cast<SetNumThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set != nullptr) set(static_cast<int>(count));
}

}  // namespace

struct WorkerThread::State {
  explicit State(ipc::Bell bell) : end(std::move(bell)) {}

  ipc::Bell end;  ///< Rung when the worker has ended or nobody counts on it any more.

  std::mutex mutex;  ///< Guards what follows.
  std::condition_variable changed;
  bool ended = false;  ///< The thread has nothing left to do.
  std::shared_ptr<void> kept;
  std::string how = "does not come back from its request";
};

Result<std::unique_ptr<WorkerThread>> WorkerThread::start(
    unsigned operator_threads, const std::function<Result<void>(pid_t thread)>& before_start) try {
  auto ends = ipc::ControlChannel::create_pair();
  if (!ends) return ends.error();
  auto bell = ipc::Bell::create();
  if (!bell) return bell.error();
  auto state = std::make_shared<State>(std::move(*bell));
  std::promise<Result<pid_t>> placed;
  auto place = placed.get_future();
  auto live = [state, operator_threads, &before_start, placed = std::move(placed),
               channel = std::move(ends->second)]() mutable {
    prctl(PR_SET_NAME, "amp4ec-worker");
    std::string how;
    const pid_t thread = gettid();
    const auto joined = before_start ? before_start(thread) : Result<void>();
    placed.set_value(joined ? Result<pid_t>(thread) : joined.error());  // `before_start` is gone from here on.
    if (joined) {
      try {
        set_operator_threads(operator_threads);
        const int status = serve_requests(std::move(channel));
        how = status == served ? "was ended" : "ended: a peer sent what its protocol does not allow";
      } catch (const std::exception& exception) {
        how = fmt::format("ended: {}", exception.what());
      } catch (...) {
        how = "ended by an exception of unknown type";
      }
    }
    const std::lock_guard lock(state->mutex);
    state->ended = true;
    state->kept.reset();
    state->how = std::move(how);
    (void)state->end.signal();
    state->changed.notify_all();
  };
  std::thread thread(std::move(live));
  auto id = place.get();
  if (!id) {
    thread.join();
    return id.error();
  }
  return std::unique_ptr<WorkerThread>(
      new WorkerThread(std::move(ends->first), std::move(state), std::move(thread), *id));
} catch (const std::exception& failure) {
  return Error{Errc::SystemCall, fmt::format("cannot start a thread for a worker: {}", failure.what())};
}

WorkerThread::WorkerThread(ipc::ControlChannel channel, std::shared_ptr<State> state, std::thread thread,
                           pid_t id) noexcept
    : Worker(std::move(channel)), state_(std::move(state)), thread_(std::move(thread)), id_(id) {}

WorkerThread::~WorkerThread() {
  kill_now();
  std::unique_lock lock(state_->mutex);
  if (!given_up_) state_->changed.wait_for(lock, patience, [&] { return state_->ended; });
  const bool ended = state_->ended;
  lock.unlock();
  ended ? thread_.join() : thread_.detach();
}

pid_t WorkerThread::pid() const noexcept {
  return getpid();
}

std::string WorkerThread::name() const {
  return fmt::format("thread {}", id_);
}

int WorkerThread::end_fd() const noexcept {
  return state_->end.fd();
}

void WorkerThread::kill_now() const noexcept {
  ::shutdown(channel_.fd(), SHUT_RDWR);
  (void)state_->end.signal();
}

void WorkerThread::keep_until_end(std::shared_ptr<void> what) {
  const std::lock_guard lock(state_->mutex);
  if (!state_->ended) state_->kept = std::move(what);
}

void WorkerThread::give_up() noexcept {
  given_up_ = true;
  kill_now();
}

std::string WorkerThread::describe_end(std::chrono::milliseconds timeout) {
  const auto ended = state_->end.wait(timeout);
  if (!ended || !*ended) return "is still running";
  const std::lock_guard lock(state_->mutex);
  return state_->how;
}

}  // namespace amp4ec::detail
