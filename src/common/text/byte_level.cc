#include "common/text/byte_level.h"

#include <array>
#include <vector>

#include "common/base/utf8.h"

namespace retort::text {
namespace {

struct Alphabet {
  std::array<std::string, 256> character_of;
  std::vector<int16_t> byte_of = std::vector<int16_t>(0x180, -1);  // By code point.

  Alphabet() {
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
      const char32_t code_point = printable ? static_cast<char32_t>(byte) : next++;
      AppendUtf8(code_point, &character_of[byte]);
      byte_of[code_point] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& TheAlphabet() {
  static const auto* alphabet = new Alphabet();
  return *alphabet;
}

}  // namespace

absl::string_view ByteCharacter(uint8_t byte) { return TheAlphabet().character_of[byte]; }

std::string ToByteAlphabet(absl::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) out += TheAlphabet().character_of[static_cast<uint8_t>(byte)];
  return out;
}

void AppendFromByteAlphabet(absl::string_view piece, std::string* out) {
  const size_t before = out->size();
  for (size_t i = 0; i < piece.size(); i += CharacterBytes(piece[i])) {
    const char32_t code_point = CodePoint(piece.substr(i));
    const auto& byte_of = TheAlphabet().byte_of;
    if (code_point >= byte_of.size() || byte_of[code_point] < 0) {
      out->resize(before);
      out->append(piece.data(), piece.size());
      return;
    }
    out->push_back(static_cast<char>(byte_of[code_point]));
  }
}

}  // namespace retort::text
