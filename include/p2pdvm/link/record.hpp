/// Encrypted records on a byte stream, after the handshake.
///
/// On the wire: the length of the sealed part (4 bytes, little-endian, authenticated), then the
/// sealed part. Records are numbered by the cipher's counter, so that none can be dropped,
/// repeated or reordered. Both sides replace the key after the same number of records or bytes.
#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/link/noise.hpp>

#include <optional>
#include <vector>

namespace p2pdvm::link {

inline constexpr std::size_t record_header_bytes = 4;
inline constexpr std::size_t record_wire_bytes_max =
    record_header_bytes + limits::record_bytes_max + crypto::tag_bytes;

/// How much is sealed under one key; both sides use the same figures.
struct rekey_policy {
  std::uint64_t records = 1 << 16;
  std::uint64_t bytes = std::uint64_t{1} << 30;
};

/// A cipher that replaces its key as the policy says.
class record_cipher {
 public:
  /// The key is derived from `key` for this cipher, so that one key never serves two.
  record_cipher(noise::cipher kind, const crypto::secret_key& key, rekey_policy policy = {});
  /// Plaintext in two parts, as `noise::cipher_state::encrypt` takes it.
  void seal(byte_view header, byte_view front, byte_view rest, byte_span out);
  void seal(byte_view header, byte_view plain, byte_span out) { seal(header, plain, {}, out); }
  [[nodiscard]] bool open(byte_view header, byte_view sealed, byte_span out);
  /// Piece by piece, as it comes.
  [[nodiscard]] bool opens_pieces(std::size_t bytes) const noexcept {
    return cipher_.opens_pieces(bytes);
  }
  void open_begin(byte_view header) { cipher_.decrypt_begin(header); }
  void open_more(byte_view sealed, byte_span out) { cipher_.decrypt_more(sealed, out); }
  [[nodiscard]] bool open_end(byte_view tag, std::size_t plain_bytes);
  /// For a record of so many bytes in its turn, which is sealed or opened apart.
  [[nodiscard]] noise::numbered_cipher take(std::size_t plain_bytes);
  [[nodiscard]] bool can_take() const noexcept { return cipher_.can_take(); }

 private:
  void count(std::size_t bytes);

  noise::cipher_state cipher_;
  rekey_policy policy_;
  std::uint64_t records_ = 0;
  std::uint64_t bytes_ = 0;
};

/// Seals and opens large records of one connection at the same time, on cores that have nothing to do. For all connections of a peer.
struct record_crew {
  host::workers& workers;
  byte_vector spare;  ///< memory for what is opened together, while nobody has it
};
/// Smaller ones are sealed and opened alone: some three times what it takes to wake a thread.
inline constexpr std::size_t shared_record_bytes_min = 24 * 1024;
inline constexpr std::size_t records_together_max = 16;

/// Coalesces what is added into one record, which is sealed where it lies.
class record_sender {
 public:
  explicit record_sender(record_cipher cipher) : cipher_(std::move(cipher)) {}
  /// Plaintext bytes that the open record still takes.
  [[nodiscard]] std::size_t room() const noexcept {
    if (!rest_.empty()) return 0;
    return limits::record_bytes_max - (empty() ? 0 : used_ - finished_ - record_header_bytes);
  }
  [[nodiscard]] bool empty() const noexcept { return used_ == finished_; }
  /// Precondition: `bytes.size() <= room()`.
  void add(byte_view bytes);
  /// The end of the record, which then takes no more; it is sealed from where it is. Preconditions: as for
  /// `add`, and the record is not empty.
  void add_last(payload bytes);
  /// Seals the open record; no effect when it is empty. With a crew a large one is sealed when it is taken, together with others;
  /// until then the payload given to `add_last` is looked at.
  void finish(bool with_crew = false);
  /// Bytes of the records that are finished and were not taken.
  [[nodiscard]] std::size_t finished() const noexcept { return finished_; }
  /// What goes on the wire next: all finished records. Precondition: none is open.
  [[nodiscard]] byte_vector take(record_crew* crew = nullptr);
  /// It has no memory at present, and takes what others are done with.
  [[nodiscard]] bool bare() const noexcept { return out_.capacity() == 0; }
  void reuse(byte_vector memory);

 private:
  struct unsealed {
    std::size_t at;  ///< of its header
    std::size_t front_bytes;
    payload rest;
    noise::numbered_cipher cipher;
  };
  [[nodiscard]] std::byte* grow(std::size_t bytes);
  void seal(const unsealed& record);

  record_cipher cipher_;

  /// Finished records, then the header's room and plaintext of the open one. What is beyond that was in
  /// use before, and need not be cleared to be used again.
  byte_vector out_;
  std::size_t used_ = 0;
  std::size_t finished_ = 0;
  payload rest_;
  std::vector<unsealed> unsealed_;
};

/// Knows where the plaintext of a record may go.
class record_places {
 public:
  /// Memory for exactly so many bytes, or none: then they go where the receiver keeps them. It stays valid
  /// until the record is given out, `displace` was called or the receiver is not used any more. What is written
  /// there is not to be trusted before.
  virtual byte_span place(std::size_t plain_bytes) = 0;

 protected:
  ~record_places() = default;
};
/// Smaller ones are not worth a question.
inline constexpr std::size_t placed_record_bytes_min = 4 * 1024;

/// Takes the stream in arbitrary pieces; holds at most one record.
class record_receiver {
 public:
  explicit record_receiver(record_cipher cipher) : cipher_(std::move(cipher)) {}
  /// Consumes from the front of `input` and gives the plaintext of the next record, valid until
  /// the next call, or nothing when all input is used up. A failure is final.
  /// With a crew, several large ones that are whole in `input` are opened together, none of them in the places.
  [[nodiscard]] result<std::optional<byte_view>> next(byte_view& input, record_places* places = nullptr,
                                                      record_crew* crew = nullptr);
  /// A record has begun to arrive, and is not whole.
  [[nodiscard]] bool partial() const noexcept { return opening_ || !partial_.empty(); }
  /// The record that is not whole moves out of the place that it was given.
  void displace();

 private:
  [[nodiscard]] bool gather(byte_view& input, std::size_t size);
  [[nodiscard]] result<std::size_t> sealed_size(byte_view header) const;
  [[nodiscard]] byte_span room_for(std::size_t bytes, record_places* places);
  [[nodiscard]] result<std::optional<byte_view>> open_pieces(byte_view& input);
  [[nodiscard]] result<std::optional<byte_view>> opened(bool good, byte_view plain);
  [[nodiscard]] bool open_together(byte_view& input, record_crew& crew);

  struct opened_record {
    byte_view plain;
    bool good;
  };
  record_cipher cipher_;
  byte_vector partial_;  ///< of the record, or of its tag when it is opened piece by piece
  byte_vector plain_;
  byte_span to_;  ///< of the record that is opened piece by piece,
  std::size_t done_ = 0;  ///< as far as it has come
  bool opening_ = false;
  bool failed_ = false;
  byte_vector together_;              ///< plaintexts of
  std::vector<opened_record> ahead_;  ///< what was opened together,
  std::size_t given_ = 0;             ///< of which so many were given out
};

}  // namespace p2pdvm::link

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/link/impl/record.ipp>
#endif
