/// What one job record has that an older one had not: a roster of a thousand is told in wholes once.
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>

#include <cstdint>
#include <vector>

namespace p2pdvm::checkpoint {

/// Entries of members that differ, and all the rest. It names no base: applied to any record
/// between the base and the result it gives the result, and the certificate tells whether it did.
struct record_change {
  job_record rest;             ///< the newer record without its members
  std::uint32_t members = 0;   ///< how many it has
  std::vector<std::uint32_t> places;  ///< ascending indexes of those that differ
  std::vector<member> entries;        ///< as many
  template <class F>
  void fields(F&& f) {
    f(rest), f(members), f(places), f(entries);
  }
};

[[nodiscard]] record_change change_between(const job_record& base, const job_record& next);

/// Error: `malformed` when it does not fit to any record with the members of `base`. That the
/// result is the record that was meant is for its certificate to say.
[[nodiscard]] result<job_record> apply(const job_record& base, record_change change);

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/record_change.ipp>
#endif
