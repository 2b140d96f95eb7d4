#pragma once

#include <p2pdvm/host/native/machine.hpp>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace p2pdvm::native {

P2PDVM_DECL machine::machine(asio::io_context& io, const options& how)
    : clock_(io, polled_),
      network_(io, polled_, &workers_),
      disk_(io, how.data_folder),
      neighbours_(io, polled_),
      workers_(io) {}

P2PDVM_DECL machine::~machine() = default;

P2PDVM_DECL void machine::system_entropy::fill(byte_span out) {
  constexpr std::size_t part_max = 256;  // getentropy gives no more at a time
  while (!out.empty()) {
    const byte_span part = out.first(std::min(out.size(), part_max));
    if (::getentropy(part.data(), part.size()) != 0)
      throw std::system_error(errno, std::generic_category(),
                              "the system's random generator is not available");
    out = out.subspan(part.size());
  }
}

}  // namespace p2pdvm::native
