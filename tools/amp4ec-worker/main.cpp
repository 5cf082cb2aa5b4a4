// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/runtime/worker_main.hpp>

#include <cstdio>

int main(int argc, char** argv) {
  if (const auto status = amp4ec::worker_main(argc, argv)) return *status;
  std::fputs("amp4ec-worker is started by amp4ec, not by hand\n", stderr);
  return 2;
}
