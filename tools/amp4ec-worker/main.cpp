// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/runtime/worker_main.hpp>

int main(int argc, char** argv) {
  return amp4ec::worker_main(argc, argv);
}
