// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <amp4ec/core/error.hpp>

using namespace amp4ec;

TEST_CASE("a result holds a value or an error, and value() throws the error") {
  const Result<int> good = 7;
  CHECK(good.value() == 7);

  const Result<int> bad = Error{Errc::PlanInfeasible, "no node holds 3 GiB"};
  REQUIRE(bad.has_error());
  CHECK(bad.error().what() == "PlanInfeasible: no node holds 3 GiB");
  try {
    (void)bad.value();
    FAIL("value() of an error must throw");
  } catch (const Exception& exception) {
    CHECK(exception.error().code == Errc::PlanInfeasible);
    CHECK(std::string(exception.what()).find("3 GiB") != std::string::npos);
  }
}

TEST_CASE("a result without a value reports success or the error") {
  const Result<void> good;
  CHECK(good.has_value());
  const Result<void> bad = Error{Errc::SystemCall, "mmap: Cannot allocate memory"};
  CHECK(bad.has_error());
}
