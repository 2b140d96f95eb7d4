/// Users' state to bytes and back, by cereal, within the bytes that are really there.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>

#include <cereal/cereal.hpp>
#include <cereal/types/array.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/vector.hpp>

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace p2pdvm::wire {

/// A cereal output archive that appends to a `byte_vector`; little-endian, no framing.
class output_archive : public cereal::OutputArchive<output_archive, cereal::AllowEmptyClassElision> {
 public:
  explicit output_archive(byte_vector& out) : OutputArchive(this), out_(out) {}
  void write(const void* data, std::size_t size) {
    append(out_, byte_view(static_cast<const std::byte*>(data), size));
  }

 private:
  byte_vector& out_;
};

/// A cereal input archive over a view. Container sizes beyond the bytes that remain throw
/// instead of allocating (plain cereal given 9 bytes allocates 16 GiB).
class input_archive : public cereal::InputArchive<input_archive, cereal::AllowEmptyClassElision> {
 public:
  explicit input_archive(byte_view in) : InputArchive(this), in_(in) {}
  void read(void* data, std::size_t size) {
    if (size > in_.size()) throw cereal::Exception("the saved state ends too early");
    if (size > 0) std::memcpy(data, in_.data(), size);
    in_ = in_.subspan(size);
  }
  /// Every element takes at least one byte here: an empty class is not a sensible element.
  void check_count(std::uint64_t count) const {
    if (count > in_.size()) throw cereal::Exception("the saved state claims more than it holds");
  }
  [[nodiscard]] std::size_t remaining() const noexcept { return in_.size(); }

 private:
  byte_view in_;
};

template <class T>
  requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(output_archive& archive, const T& value) {
  archive.write(&value, sizeof value);
}
template <class T>
  requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(input_archive& archive, T& value) {
  archive.read(&value, sizeof value);
}
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(output_archive& archive, const cereal::BinaryData<T>& data) {
  archive.write(data.data, static_cast<std::size_t>(data.size));
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(input_archive& archive, cereal::BinaryData<T>& data) {
  archive.read(data.data, static_cast<std::size_t>(data.size));
}
template <class Archive, class T>
  requires std::is_same_v<Archive, input_archive> || std::is_same_v<Archive, output_archive>
void CEREAL_SERIALIZE_FUNCTION_NAME(Archive& archive, cereal::NameValuePair<T>& pair) {
  archive(pair.value);
}
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(output_archive& archive, const cereal::SizeTag<T>& tag) {
  const auto size = static_cast<std::uint64_t>(tag.size);
  archive.write(&size, sizeof size);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(input_archive& archive, cereal::SizeTag<T>& tag) {
  std::uint64_t size = 0;
  archive.read(&size, sizeof size);
  archive.check_count(size);
  tag.size = static_cast<std::remove_reference_t<decltype(tag.size)>>(size);
}

/// Bytes of a value that cereal can save.
template <class T>
[[nodiscard]] byte_vector save(const T& value) {
  byte_vector out;
  output_archive archive(out);
  archive(value);
  return out;
}

/// Fails with `errc::corrupted` when the bytes are not exactly one saved T.
template <class T>
result<> load(byte_view bytes, T& value) {
  try {
    input_archive archive(bytes);
    archive(value);
    if (archive.remaining() != 0) return error(errc::corrupted, "the saved state is too long");
  } catch (const cereal::Exception& e) {
    return error(errc::corrupted, e.what());
  }
  return {};
}

}  // namespace p2pdvm::wire

CEREAL_REGISTER_ARCHIVE(p2pdvm::wire::output_archive)
CEREAL_REGISTER_ARCHIVE(p2pdvm::wire::input_archive)
CEREAL_SETUP_ARCHIVE_TRAITS(p2pdvm::wire::input_archive, p2pdvm::wire::output_archive)
