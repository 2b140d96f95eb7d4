#pragma once

#include <p2pdvm/store/coded_file.hpp>
#include <p2pdvm/store/fingerprint.hpp>
#include <p2pdvm/wire/codec.hpp>

#if defined(P2PDVM_WITH_ISAL)
#include <isa-l.h>
#endif

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

namespace p2pdvm::store {

namespace detail {

inline constexpr std::string_view coded_part_magic = "p2pdvm job part\n";

struct coded_part_head {
  std::array<std::byte, coded_part_magic.size()> magic{};
  std::uint32_t version = coded_part_version;
  std::uint8_t data = 0, parity = 0, index = 0;
  part_set set{};
  std::uint64_t size = 0;  ///< of the file that is in parts
  template <class F>
  void fields(F&& f) {
    f(magic), f(version), f(data), f(parity), f(index), f(set), f(size);
  }
  static constexpr std::size_t bytes = coded_part_magic.size() + 4 + 3 + std::tuple_size_v<part_set> + 8;
};

inline constexpr std::size_t coded_checksum_bytes = 16;
inline constexpr std::uint64_t coded_head_bytes = coded_part_head::bytes + coded_checksum_bytes;
inline constexpr std::uint64_t coded_record_bytes = coded_checksum_bytes + coded_fragment_bytes;

inline std::array<std::byte, coded_checksum_bytes> coded_checksum(byte_view bytes, std::uint64_t seed) {
  const fingerprint print = fingerprint_of(bytes, seed);
  std::array<std::byte, coded_checksum_bytes> out;
  for (std::size_t i = 0; i < 8; ++i) {
    out[i] = std::byte(print.low >> (8 * i) & 0xff);
    out[8 + i] = std::byte(print.high >> (8 * i) & 0xff);
  }
  return out;
}

/// A fragment is good in its own place only.
inline std::uint64_t fragment_seed(const part_set& set, unsigned part, std::uint64_t stripe) {
  return fingerprint_of(set, part).low ^ stripe;
}

/// The head and its checksum, or what is wrong with it.
inline result<coded_part_head> read_part_head(host::file& file, const std::string& name) {
  std::array<std::byte, coded_head_bytes> bytes{};
  const auto got = file.read(0, bytes);
  if (!got.ok()) return got.error();
  const byte_view encoded = byte_view(bytes).first(coded_part_head::bytes);
  const auto head = wire::decode<coded_part_head>(encoded);
  if (*got < coded_part_magic.size() || !head.ok() || as_text((*head).magic) != coded_part_magic)
    return error(errc::malformed, "'" + name + "' is no part of a file that p2pdvm export has written, or it was cut off");
  if ((*head).version != coded_part_version)
    return error(errc::unsupported_version, "'" + name + "' was written in format " + std::to_string((*head).version) +
                                                " of parts by another p2pdvm (this one knows format " +
                                                std::to_string(coded_part_version) + "); use the version that wrote it");
  const auto sum = coded_checksum(encoded, 0);
  const unsigned k = (*head).data, m = (*head).parity;
  if (!std::equal(sum.begin(), sum.end(), bytes.begin() + coded_part_head::bytes) || k == 0 || m == 0 ||
      k + m > coded_parts_max || (*head).index >= k + m)
    return error(errc::malformed, "'" + name + "' is damaged at its beginning; leave it out if enough other parts are there");
  return *head;
}

inline error no_codes() {
  return error(errc::incompatible, "this p2pdvm was built without ISA-L, which computes such parts; install it (Debian, Ubuntu: "
                                  "libisal-dev) and build p2pdvm again");
}

#if defined(P2PDVM_WITH_ISAL)
/// The k + m rows of k numbers by which fragments follow from the k data fragments.
inline std::vector<std::uint8_t> code_matrix(const code_shape& shape) {
  std::vector<std::uint8_t> rows(std::size_t{shape.parts()} * shape.data);
  gf_gen_cauchy1_matrix(rows.data(), static_cast<int>(shape.parts()), static_cast<int>(shape.data));
  return rows;
}

inline std::vector<std::uint8_t> code_tables(unsigned k, unsigned rows, std::uint8_t* matrix) {
  std::vector<std::uint8_t> tables(std::size_t{32} * k * rows);
  ec_init_tables(static_cast<int>(k), static_cast<int>(rows), matrix, tables.data());
  return tables;
}

inline std::uint8_t* code_bytes(byte_vector& fragment) { return reinterpret_cast<std::uint8_t*>(fragment.data()); }
#endif

}  // namespace detail

P2PDVM_DECL std::optional<code_shape> parse_code_shape(std::string_view text) {
  code_shape shape;
  const char* const end = text.data() + text.size();
  const auto data = std::from_chars(text.data(), end, shape.data);
  if (data.ec != std::errc() || data.ptr == end || *data.ptr != '+') return std::nullopt;
  const auto parity = std::from_chars(data.ptr + 1, end, shape.parity);
  if (parity.ec != std::errc() || parity.ptr != end) return std::nullopt;
  if (shape.data == 0 || shape.parity == 0 || shape.data > coded_parts_max || shape.parity > coded_parts_max ||
      shape.parts() > coded_parts_max)
    return std::nullopt;
  return shape;
}

P2PDVM_DECL bool codes_available() noexcept {
#if defined(P2PDVM_WITH_ISAL)
  return true;
#else
  return false;
#endif
}

// --- writing ---

P2PDVM_DECL coded_writer::coded_writer(code_shape shape, part_set set, std::vector<host::file*> parts)
    : shape_(shape), set_(set), parts_(std::move(parts)), stripe_(shape.parts(), byte_vector(coded_fragment_bytes)) {
  P2PDVM_ASSERT(parts_.size() == shape_.parts());
#if defined(P2PDVM_WITH_ISAL)
  auto matrix = detail::code_matrix(shape_);
  tables_ = detail::code_tables(shape_.data, shape_.parity, matrix.data() + std::size_t{shape_.data} * shape_.data);
#endif
}

P2PDVM_DECL result<> coded_writer::add(byte_view bytes) {
  if (!codes_available()) return detail::no_codes();
  while (!bytes.empty()) {
    const std::size_t within = filled_ % coded_fragment_bytes;
    const std::size_t n = std::min(bytes.size(), coded_fragment_bytes - within);
    std::copy_n(bytes.begin(), n, stripe_[filled_ / coded_fragment_bytes].begin() + static_cast<std::ptrdiff_t>(within));
    filled_ += n;
    size_ += n;
    bytes = bytes.subspan(n);
    if (filled_ < shape_.data * coded_fragment_bytes) continue;
    if (auto r = write_stripe(); !r.ok()) return r;
  }
  return {};
}

P2PDVM_DECL result<> coded_writer::write_stripe() {
#if defined(P2PDVM_WITH_ISAL)
  std::vector<std::uint8_t*> fragments;
  for (byte_vector& f : stripe_) fragments.push_back(detail::code_bytes(f));
  ec_encode_data(static_cast<int>(coded_fragment_bytes), static_cast<int>(shape_.data), static_cast<int>(shape_.parity),
                 tables_.data(), fragments.data(), fragments.data() + shape_.data);
#endif
  byte_vector record;
  for (unsigned i = 0; i < shape_.parts(); ++i) {
    record.clear();
    append(record, detail::coded_checksum(stripe_[i], detail::fragment_seed(set_, i, stripes_)));
    append(record, stripe_[i]);
    if (auto r = parts_[i]->write(detail::coded_head_bytes + stripes_ * detail::coded_record_bytes, record); !r.ok()) return r;
    std::fill(stripe_[i].begin(), stripe_[i].end(), std::byte{0});
  }
  ++stripes_;
  filled_ = 0;
  return {};
}

P2PDVM_DECL result<> coded_writer::finish() {
  if (!codes_available()) return detail::no_codes();
  if (filled_ > 0) {
    if (auto r = write_stripe(); !r.ok()) return r;
  }
  for (unsigned i = 0; i < shape_.parts(); ++i) {
    detail::coded_part_head head;
    std::copy_n(as_bytes(detail::coded_part_magic).begin(), head.magic.size(), head.magic.begin());
    head.data = static_cast<std::uint8_t>(shape_.data);
    head.parity = static_cast<std::uint8_t>(shape_.parity);
    head.index = static_cast<std::uint8_t>(i);
    head.set = set_;
    head.size = size_;
    byte_vector bytes = wire::encode(head);
    append(bytes, detail::coded_checksum(bytes, 0));
    if (auto r = parts_[i]->write(0, bytes); !r.ok()) return r;
  }
  return {};
}

P2PDVM_DECL std::uint64_t coded_writer::bytes() const noexcept {
  return shape_.parts() * (detail::coded_head_bytes + stripes_ * detail::coded_record_bytes);
}

// --- reading ---

P2PDVM_DECL bool coded_file::is_part(host::file& file) {
  std::array<std::byte, detail::coded_part_magic.size()> first{};
  const auto got = file.read(0, first);
  return got.ok() && *got == first.size() && as_text(first) == detail::coded_part_magic;
}

P2PDVM_DECL result<std::unique_ptr<coded_file>> coded_file::open(std::vector<part> parts) {
  std::unique_ptr<coded_file> opened(new coded_file);
  std::string first;  // by which the others are judged
  for (part& p : parts) {
    const auto head = detail::read_part_head(*p.file, p.name);
    if (!head.ok()) return head.error();
    if (first.empty()) {
      first = p.name;
      opened->shape_ = {(*head).data, (*head).parity};
      opened->set_ = (*head).set;
      opened->size_ = (*head).size;
      opened->parts_.resize(opened->shape_.parts());
    } else if ((*head).set != opened->set_ || code_shape{(*head).data, (*head).parity} != opened->shape_ ||
               (*head).size != opened->size_) {
      return error(errc::conflict, "'" + first + "' and '" + p.name + "' are parts of different files");
    }
    open_part& place = opened->parts_[(*head).index];
    if (place.file != nullptr)
      return error(errc::conflict, "'" + place.name + "' and '" + p.name + "' are the same part; name another one");
    place.name = std::move(p.name);
    place.file = p.file;
  }
  if (parts.empty()) return error(errc::not_found, "no part was named");
  const unsigned k = opened->shape_.data, all = opened->shape_.parts();
  if (parts.size() < k) {
    std::string absent;
    for (unsigned i = 0; i < all; ++i) {
      if (opened->parts_[i].file == nullptr) absent += (absent.empty() ? "" : ", ") + std::to_string(i + 1);
    }
    return error(errc::not_found, "of this file's " + std::to_string(all) + " parts any " + std::to_string(k) + " are enough, and only " +
                                      std::to_string(parts.size()) + (parts.size() == 1 ? " was" : " were") +
                                      " named; name " + std::to_string(k - parts.size()) + " more of parts " + absent);
  }
  if (opened->size_ > std::uint64_t{1} << 56) return error(errc::malformed, "'" + first + "' claims to be part of a file that no disk could hold");
  opened->stripe_.assign(all, byte_vector());
  opened->states_.assign(all, state::unread);
  return opened;
}

P2PDVM_DECL std::uint64_t coded_file::stripes() const noexcept {
  const std::uint64_t bytes = std::uint64_t{shape_.data} * coded_fragment_bytes;
  return (size_ + bytes - 1) / bytes;
}

P2PDVM_DECL void coded_file::turn_to(std::uint64_t stripe) {
  if (at_ == stripe) return;
  at_ = stripe;
  std::fill(states_.begin(), states_.end(), state::unread);
}

P2PDVM_DECL bool coded_file::load(unsigned index) {
  if (states_[index] != state::unread) return states_[index] == state::good;
  states_[index] = state::lost;
  open_part& p = parts_[index];
  if (p.file == nullptr) return false;
  byte_vector& into = stripe_[index];
  into.resize(coded_fragment_bytes);
  std::array<std::byte, detail::coded_checksum_bytes> sum{};
  const std::uint64_t place = detail::coded_head_bytes + *at_ * detail::coded_record_bytes;
  const auto head = p.file->read(place, sum);
  const auto body = p.file->read(place + sum.size(), into);
  if (!head.ok() || !body.ok() || *head < sum.size() || *body < into.size() ||
      sum != detail::coded_checksum(into, detail::fragment_seed(set_, index, *at_))) {
    p.damaged.insert(*at_);
    return false;
  }
  states_[index] = state::good;
  return true;
}

P2PDVM_DECL result<byte_view> coded_file::fragment(unsigned index) {
  if (!load(index)) {
    if (auto r = rebuild(); !r.ok()) return r.error();
  }
  return byte_view(stripe_[index]);
}

P2PDVM_DECL result<> coded_file::rebuild() {
  const unsigned k = shape_.data;
  std::vector<unsigned> good, wanted;
  for (unsigned i = 0; i < shape_.parts() && good.size() < k; ++i) {
    if (load(i)) good.push_back(i);
  }
  if (good.size() < k)
    return error(errc::corrupted, "at byte " + std::to_string(*at_ * k * coded_fragment_bytes) + " only " + std::to_string(good.size()) + " of the " +
                                      std::to_string(shape_.parts()) + " parts are there and undamaged, and " + std::to_string(k) +
                                      " are needed; name more parts, or copy the damaged ones again");
  for (unsigned i = 0; i < k; ++i) {
    if (states_[i] != state::good) wanted.push_back(i);
  }
#if defined(P2PDVM_WITH_ISAL)
  // good = rows(good) · data, so data = rows(good)⁻¹ · good.
  const auto matrix = detail::code_matrix(shape_);
  std::vector<std::uint8_t> rows, inverse(std::size_t{k} * k), of_wanted;
  std::vector<std::uint8_t*> from, to;
  for (const unsigned i : good) {
    rows.insert(rows.end(), matrix.begin() + i * k, matrix.begin() + (i + 1) * k);
    from.push_back(detail::code_bytes(stripe_[i]));
  }
  const bool regular = gf_invert_matrix(rows.data(), inverse.data(), static_cast<int>(k)) == 0;
  P2PDVM_ASSERT(regular);  // every square part of a Cauchy matrix is, with or without rows of the unit matrix
  for (const unsigned i : wanted) {
    of_wanted.insert(of_wanted.end(), inverse.begin() + i * k, inverse.begin() + (i + 1) * k);
    stripe_[i].resize(coded_fragment_bytes);
    to.push_back(detail::code_bytes(stripe_[i]));
  }
  auto tables = detail::code_tables(k, static_cast<unsigned>(wanted.size()), of_wanted.data());
  ec_encode_data(static_cast<int>(coded_fragment_bytes), static_cast<int>(k), static_cast<int>(wanted.size()), tables.data(),
                 from.data(), to.data());
  for (const unsigned i : wanted) states_[i] = state::good;
  return {};
#else
  return detail::no_codes();
#endif
}

P2PDVM_DECL result<std::size_t> coded_file::read(std::uint64_t offset, byte_span into) {
  if (offset >= size_) return std::size_t{0};
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - offset)));
  for (std::size_t done = 0; done < into.size();) {
    const std::uint64_t at = offset + done, number = at / coded_fragment_bytes;
    turn_to(number / shape_.data);
    const auto bytes = fragment(static_cast<unsigned>(number % shape_.data));
    if (!bytes.ok()) return bytes.error();
    const byte_view rest = (*bytes).subspan(static_cast<std::size_t>(at % coded_fragment_bytes));
    const std::size_t n = std::min(rest.size(), into.size() - done);
    std::copy_n(rest.begin(), n, into.begin() + static_cast<std::ptrdiff_t>(done));
    done += n;
  }
  return into.size();
}

P2PDVM_DECL void coded_file::verify() {
  for (std::uint64_t s = 0; s < stripes(); ++s) {
    turn_to(s);
    for (unsigned i = 0; i < shape_.parts(); ++i) (void)load(i);
  }
}

P2PDVM_DECL std::vector<std::string> coded_file::losses() const {
  std::vector<std::string> all;
  for (unsigned i = 0; i < shape_.parts(); ++i) {
    const open_part& p = parts_[i];
    if (p.file == nullptr) {
      all.push_back("part " + std::to_string(i + 1) + " of " + std::to_string(shape_.parts()) + " was not named");
    } else if (!p.damaged.empty()) {
      all.push_back("'" + p.name + "' is damaged in " + std::to_string(p.damaged.size()) + " of " + std::to_string(stripes()) + " places");
    }
  }
  return all;
}

}  // namespace p2pdvm::store
