# SPDX-License-Identifier: MIT
# Arrays with string keys: counts, strings that grow, lines kept under their number.
{
    count[$2]++
    grown[$2] = grown[$2] substr($3, 1, 3)
    kept[$1] = $0
    if (NR % 7 == 0)
        delete kept[$1]
    n = split($0, part, "a")
    fields += n
}
END {
    for (word in count)
        sum += count[word] * length(grown[word])
    for (number in kept)
        length_of_all += length(kept[number])
    print sum, length_of_all, fields
}
