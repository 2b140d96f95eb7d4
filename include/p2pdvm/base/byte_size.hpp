/// Numbers of bytes as people write them: "20GB", "500MiB".
#pragma once

#include <p2pdvm/base/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace p2pdvm {

/// A number, which may have a fraction, and B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024), in capitals or not;
/// without a unit it is bytes. `invalid_argument` with a sentence for what is nothing of that or does not fit into 2^63.
[[nodiscard]] result<std::uint64_t> parse_byte_size(std::string_view text);

/// "1.2 MB".
[[nodiscard]] std::string byte_size_text(std::uint64_t bytes);

}  // namespace p2pdvm

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/base/impl/byte_size.ipp>
#endif
