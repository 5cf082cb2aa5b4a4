// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "support/catch.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace amp4ec::test;

TEST_CASE("a signal ends a run in order, whatever it is at") {
  const int number = GENERATE(SIGINT, SIGTERM);
  Command command({"run", "lstm", "--node", "a:0.5:0", "--node", "b:0.5:0", "--pipelines", "1", "--profile",
                   lstm_profile(), "--seconds", "600", "--json"});
  REQUIRE(command.wait_for_worker());
  command.signal(number);
  const Outcome outcome = command.wait();
  INFO(outcome.err);
  CHECK(outcome.exit == 128 + number);
  CHECK(outcome.out.empty());
  CHECK(workers_of(::getpid()) == 0);
  CHECK(groups_left(outcome.pid).empty());
}

TEST_CASE("no worker outlives a run that is killed") {
  Command command({"run", "lstm", "--node", "a:0.5:0", "--profile", lstm_profile(), "--seconds", "600", "--json"});
  REQUIRE(command.wait_for_worker());
  command.signal(SIGKILL);
  CHECK(command.wait().exit == 128 + SIGKILL);
  // They are this process's children now. Ends with a time-out where one lives on.
  while (workers_of(::getpid()) != 0) {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) continue;
    ::usleep(1000);
  }
}
