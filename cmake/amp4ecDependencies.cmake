# SPDX-License-Identifier: Apache-2.0
# Everything the library links. Used by the build and, installed, by every consumer: one place for both.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(fmt)
find_dependency(Boost 1.81 CONFIG)
include(${CMAKE_CURRENT_LIST_DIR}/amp4ecTorch.cmake)
