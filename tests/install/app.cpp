// SPDX-License-Identifier: MIT
// A C++ program on hakmem: the operators are hakmem's, and a failure throws.
#include <hakmem.h>

#include <cstdio>
#include <map>
#include <new>
#include <string>

struct alignas(256) Wide {
    char bytes[256];
};

static int handler_calls;
static void handler()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

int main()
{
    std::map<int, std::string> map;
    for (int i = 0; i < 1000; i++)
        map[i] = std::string(i, 'x');
    std::string *one = new std::string("hello");
    if (hak_usable_size(one) < sizeof(*one))
        return 1;
    delete one;
    Wide *wide = new Wide[3];
    if (reinterpret_cast<uintptr_t>(wide) % 256 != 0)
        return 2;
    delete[] wide;
    volatile size_t huge = size_t(1) << 62;
    if (new (std::nothrow) char[huge] != nullptr)
        return 3;
    std::set_new_handler(handler);
    try {
        (void)new char[huge];
        return 4;
    } catch (const std::bad_alloc &) {
    }
    if (handler_calls != 3)
        return 5;
    std::printf("hakmem %s\n", hak_version());
    return 0;
}
