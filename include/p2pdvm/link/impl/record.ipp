#pragma once

#include <p2pdvm/link/record.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace p2pdvm::link {

P2PDVM_DECL record_cipher::record_cipher(noise::cipher kind, const crypto::secret_key& key,
                                         rekey_policy policy)
    : cipher_(kind, crypto::derive(key, kind == noise::cipher::aes256_gcm
                                            ? "p2pdvm record AES-256-GCM"
                                            : "p2pdvm record ChaCha20-Poly1305")),
      policy_(policy) {}

P2PDVM_DECL void record_cipher::count(std::size_t bytes) {
  ++records_;
  bytes_ += bytes;
  if (records_ < policy_.records && bytes_ < policy_.bytes) return;
  records_ = 0;
  bytes_ = 0;
  cipher_.rekey();
}

P2PDVM_DECL void record_cipher::seal(byte_view header, byte_view front, byte_view rest, byte_span out) {
  cipher_.encrypt(header, front, rest, out);
  count(front.size() + rest.size());
}

P2PDVM_DECL noise::numbered_cipher record_cipher::take(std::size_t plain_bytes) {
  noise::numbered_cipher taken = cipher_.take();
  count(plain_bytes);
  return taken;
}

P2PDVM_DECL bool record_cipher::open_end(byte_view tag, std::size_t plain_bytes) {
  if (!cipher_.decrypt_end(tag)) return false;
  count(plain_bytes);
  return true;
}

P2PDVM_DECL bool record_cipher::open(byte_view header, byte_view sealed, byte_span out) {
  if (!cipher_.decrypt(header, sealed, out)) return false;
  count(sealed.size() - crypto::tag_bytes);
  return true;
}

P2PDVM_DECL std::byte* record_sender::grow(std::size_t bytes) {
  const std::size_t at = used_;
  used_ += bytes;
  if (out_.size() < used_) out_.resize(used_);
  return out_.data() + at;
}

P2PDVM_DECL void record_sender::add(byte_view bytes) {
  P2PDVM_ASSERT(bytes.size() <= room());
  if (bytes.empty()) return;
  if (empty()) static_cast<void>(grow(record_header_bytes));
  std::memcpy(grow(bytes.size()), bytes.data(), bytes.size());
}

P2PDVM_DECL void record_sender::add_last(payload bytes) {
  P2PDVM_ASSERT(!empty());
  P2PDVM_ASSERT(bytes.size() <= room());
  rest_ = std::move(bytes);
}

P2PDVM_DECL void record_sender::finish(bool with_crew) {
  if (empty()) return;
  const std::size_t front = used_ - finished_ - record_header_bytes;
  static_cast<void>(grow(rest_.size() + crypto::tag_bytes));
  const byte_span record = byte_span(out_).first(used_).subspan(finished_);
  const byte_span body = record.subspan(record_header_bytes);
  const auto sealed = static_cast<std::uint32_t>(body.size());
  std::memcpy(record.data(), &sealed, record_header_bytes);
  if (with_crew && rest_.size() >= shared_record_bytes_min && cipher_.can_take()) {
    noise::numbered_cipher turn = cipher_.take(front + rest_.size());
    unsealed_.push_back({finished_, front, std::move(rest_), std::move(turn)});
  } else {
    cipher_.seal(bytes_of(sealed), body.first(front), rest_.view(), body);
  }
  rest_ = payload();
  finished_ = used_;
}

P2PDVM_DECL void record_sender::seal(const unsealed& u) {
  const byte_span header = byte_span(out_).subspan(u.at, record_header_bytes);
  const byte_span body = byte_span(out_).subspan(u.at + record_header_bytes, u.front_bytes + u.rest.size() + crypto::tag_bytes);
  u.cipher.encrypt(header, body.first(u.front_bytes), u.rest.view(), body);
}

P2PDVM_DECL byte_vector record_sender::take(record_crew* crew) {
  P2PDVM_ASSERT(empty());
  if (crew != nullptr && unsealed_.size() > 1) {
    crew->workers.share(unsealed_.size(), [this](std::size_t n) { seal(unsealed_[n]); });
  } else {
    for (const unsealed& u : unsealed_) seal(u);
  }
  unsealed_.clear();
  out_.resize(used_);
  used_ = finished_ = 0;
  return std::exchange(out_, {});
}

P2PDVM_DECL void record_sender::reuse(byte_vector memory) {
  P2PDVM_ASSERT(bare());
  out_ = std::move(memory);
}

P2PDVM_DECL bool record_receiver::gather(byte_view& input, std::size_t size) {
  if (partial_.size() < size) {
    const std::size_t take = std::min(size - partial_.size(), input.size());
    append(partial_, input.first(take));
    input = input.subspan(take);
  }
  return partial_.size() >= size;
}

P2PDVM_DECL result<std::size_t> record_receiver::sealed_size(byte_view header) const {
  std::uint32_t size = 0;
  std::memcpy(&size, header.data(), record_header_bytes);
  if (size <= crypto::tag_bytes || size > limits::record_bytes_max + crypto::tag_bytes)
    return error(errc::malformed, "a record's length is out of range: the stream is damaged");
  return static_cast<std::size_t>(size);
}

P2PDVM_DECL byte_span record_receiver::room_for(std::size_t bytes, record_places* places) {
  if (places != nullptr && bytes >= placed_record_bytes_min) {
    const byte_span there = places->place(bytes);
    P2PDVM_ASSERT(there.empty() || there.size() == bytes);
    if (!there.empty()) return there;
  }
  if (plain_.size() < bytes) plain_.resize(bytes);
  return byte_span(plain_).first(bytes);
}

P2PDVM_DECL void record_receiver::displace() {
  if (!opening_ || to_.data() == plain_.data()) return;
  if (plain_.size() < to_.size()) plain_.resize(to_.size());
  if (done_ > 0) std::memcpy(plain_.data(), to_.data(), done_);
  to_ = byte_span(plain_).first(to_.size());
}

P2PDVM_DECL result<std::optional<byte_view>> record_receiver::opened(bool good, byte_view plain) {
  partial_.clear();
  opening_ = false;
  failed_ = !good;
  if (failed_)
    return error(errc::authentication, "a record does not authenticate: it was altered on the way");
  return std::optional<byte_view>(plain);
}

P2PDVM_DECL result<std::optional<byte_view>> record_receiver::open_pieces(byte_view& input) {
  const std::size_t take = std::min(to_.size() - done_, input.size());
  cipher_.open_more(input.first(take), to_.subspan(done_));
  done_ += take;
  input = input.subspan(take);
  if (done_ < to_.size() || !gather(input, crypto::tag_bytes)) return std::optional<byte_view>();
  return opened(cipher_.open_end(partial_, done_), to_);
}

/// False when there are no two of them, and nothing was taken from `input`.
P2PDVM_DECL bool record_receiver::open_together(byte_view& input, record_crew& crew) {
  struct sealed_record {
    byte_view header, body;
    byte_span plain;
    noise::numbered_cipher cipher;
  };
  std::array<std::size_t, records_together_max> sizes{};
  std::size_t count = 0, plain_bytes = 0;
  for (byte_view left = input; count < sizes.size() && left.size() > record_header_bytes; ++count) {
    const auto sealed = sealed_size(left);
    if (!sealed || *sealed < shared_record_bytes_min || left.size() < record_header_bytes + *sealed) break;
    sizes[count] = *sealed;
    plain_bytes += *sealed - crypto::tag_bytes;
    left = left.subspan(record_header_bytes + *sealed);
  }
  if (count < 2 || !cipher_.can_take() || crew.workers.idle() == 0) return false;
  together_ = std::exchange(crew.spare, {});
  if (together_.size() < plain_bytes) together_.resize(plain_bytes);
  std::vector<sealed_record> records;
  records.reserve(count);
  byte_span plain = together_;
  for (std::size_t n = 0; n < count && cipher_.can_take(); ++n) {
    const std::size_t bytes = sizes[n] - crypto::tag_bytes;
    records.push_back({input.first(record_header_bytes), input.subspan(record_header_bytes, sizes[n]), plain.first(bytes),
                       cipher_.take(bytes)});
    input = input.subspan(record_header_bytes + sizes[n]);
    plain = plain.subspan(bytes);
  }
  ahead_.resize(records.size());
  given_ = 0;
  crew.workers.share(records.size(), [&](std::size_t n) {
    const sealed_record& r = records[n];
    ahead_[n] = {r.plain, r.cipher.decrypt(r.header, r.body, r.plain)};
  });
  return true;
}

P2PDVM_DECL result<std::optional<byte_view>> record_receiver::next(byte_view& input, record_places* places,
                                                                   record_crew* crew) {
  if (failed_) return error(errc::authentication, "the stream of records has already failed");
  if (opening_) return open_pieces(input);
  if (given_ == ahead_.size() && !ahead_.empty()) {
    ahead_.clear();
    given_ = 0;
    if (crew != nullptr) crew->spare = std::move(together_);
    together_ = {};
  }
  const bool whole_ones = crew != nullptr && input.size() >= 2 * shared_record_bytes_min && partial_.empty();
  if (!ahead_.empty() || (whole_ones && open_together(input, *crew))) {
    const opened_record& r = ahead_[given_++];
    return opened(r.good, r.plain);
  }
  const bool direct = partial_.empty() && input.size() >= record_header_bytes;
  if (!direct && !gather(input, record_header_bytes)) return std::optional<byte_view>();
  const auto sealed = sealed_size(direct ? input : byte_view(partial_));
  if (!sealed) {
    failed_ = true;
    return sealed.error();
  }
  const std::size_t bytes = *sealed - crypto::tag_bytes;
  const std::size_t whole = record_header_bytes + *sealed;
  byte_view record;
  if (direct && input.size() >= whole) {  // open it where it lies
    record = input.first(whole);
    input = input.subspan(whole);
  } else if (partial_.size() <= record_header_bytes && cipher_.opens_pieces(bytes)) {
    cipher_.open_begin(direct ? input.first(record_header_bytes) : byte_view(partial_));
    if (direct) input = input.subspan(record_header_bytes);
    partial_.clear();
    to_ = room_for(bytes, places);
    done_ = 0;
    opening_ = true;
    return open_pieces(input);
  } else {
    if (!gather(input, whole)) return std::optional<byte_view>();
    record = partial_;
  }
  const byte_span out = room_for(bytes, places);
  return opened(cipher_.open(record.first(record_header_bytes), record.subspan(record_header_bytes), out), out);
}

}  // namespace p2pdvm::link
