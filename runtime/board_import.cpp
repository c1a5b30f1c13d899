#include "runtime/board_import.hpp"

#include "runtime/board_transfer.hpp"

namespace stele {

Status import_board(DataDirectory& data, std::istream& lines, const std::string& name, TimeMs now,
                    const CrewReader& read_crew) {
    HeadMark mark;
    const Result<BoardInfo> made = data.create_import(
        {.tenant = "default", .board = name}, [&](BoardNumber number, StateStore& into) -> Result<BoardInfo> {
            const Result<BoardLines> read = read_board_lines(lines, number, read_crew, into);
            if (!read.ok()) return read.error();
            BoardInfo info;
            info.number = number;
            info.address.board = read->header.board;
            info.family = read->header.family;
            info.created = read->header.created.ms != 0 ? read->header.created : now;
            mark = {{read->records}, std::string(read->link.begin(), read->link.end())};
            return info;
        });
    if (!made.ok()) return made.error();
    Result<HeadMarkFile> head = HeadMarkFile::open(data.head_path(made->number));
    if (!head.ok()) return head.error();
    const Status written = head->write(mark);
    return written.ok() ? head->sync() : written;
}

}  // namespace stele
