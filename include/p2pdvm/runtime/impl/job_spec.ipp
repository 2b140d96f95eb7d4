#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/runtime/job_spec.hpp>

#include <cmath>
#include <cstring>

namespace p2pdvm::runtime {

namespace detail {

inline digest256 labelled_hash(std::string_view label, byte_view bytes) {
  byte_vector all = to_vector(as_bytes(label));
  append(all, bytes);
  return crypto::hash(all);
}

}  // namespace detail

P2PDVM_DECL job_id job_spec::derived_id() const {
  job_spec rest = *this;
  rest.id = job_id();
  const digest256 all = detail::labelled_hash("p2pdvm job id", wire::encode(rest));
  return job_id(all.bytes().first(job_id::size));
}

P2PDVM_DECL std::uint64_t job_spec::seed() const {
  byte_vector bytes;
  wire::writer w(bytes);
  w(program);
  w(options);
  std::uint64_t seed = 0;
  std::memcpy(&seed, crypto::hash(bytes).bytes().data(), sizeof seed);
  return seed;
}

P2PDVM_DECL node_id job_directory::target(const job_id& job) {
  return node_id(detail::labelled_hash("p2pdvm job ", job.bytes()).bytes());
}

P2PDVM_DECL job_directory::job_directory(const job_id& job, const crypto::secret_key& secret)
    : where(target(job)),
      signer(crypto::secret_key(detail::labelled_hash("p2pdvm directory", secret.bytes()).bytes())) {}

P2PDVM_DECL result<> job_spec::validate() const {
  if (id != derived_id())
    return error(errc::authentication, "this is not the specification of the job that its id names");
  if (ranks == 0 || ranks > limits::ranks_max || peers == 0 || peers > limits::members_max ||
      replicas == 0 || replicas > 64 || receipts > receipts_from::memory || program.empty() || program.size() > 255)
    return error(errc::malformed, "the job's specification is malformed");
  for (const auto& [name, input] : inputs) {
    if (input.bytes > limits::input_bytes_max)
      return error(errc::too_large, "the job's input '" + name + "' is too large");
  }
  return {};
}

P2PDVM_DECL bool job_spec::fits(const checkpoint::job_record& record) const {
  return record.job == id && record.ranks == ranks &&
         record.specification == crypto::hash(wire::encode(*this));
}

P2PDVM_DECL std::uint64_t platform_probe() {
  std::uint64_t h = 0xcbf29ce484222325ull ^ (sizeof(long double) << 8 | sizeof(void*));
  const auto add = [&h](double value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    h = (h ^ bits) * 0x100000001b3ull;
  };
  volatile double x = 0.1;  // computed at run time, by the library that the program will use
  for (int i = 0; i < 64; ++i) {
    add(std::sin(x)), add(std::exp(x)), add(std::log(x)), add(std::pow(x, 1.7)), add(std::tanh(x));
    x = x * 1.37 + 0.01;
  }
  return h;
}

}  // namespace p2pdvm::runtime
