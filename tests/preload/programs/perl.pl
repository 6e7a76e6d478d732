# SPDX-License-Identifier: MIT
# Hashes, strings that grow, regular expressions, closures, sorting, pack; and, given "threads",
# the same in interpreter threads that pass strings through a queue.
use strict;
use warnings;

sub work {
    my ($seed) = @_;
    my (%count, @list, $text);
    my $x = $seed;
    for my $i (1 .. 60_000) {
        $x = ($x * 1103515245 + 12345) % 2147483648;
        my $word = 'w' . ($x >> 12) % 5000;
        $count{$word}{$i % 10} .= chr(97 + $i % 26);
        push @list, [$word, $i, 'x' x (($x >> 20) % 200)];
        $text .= "$word " if $i % 3;
        delete $count{'w' . ($i % 5000)} if $i % 17 == 0;
    }
    my $found = () = $text =~ /w(\d)\d*\1 /g;
    (my $other = $text) =~ s/w(\d+)/sprintf("<%05d>", $1)/ge;
    my @sorted = sort { $a->[0] cmp $b->[0] || $a->[1] <=> $b->[1] } @list;
    my @closures = map { my $n = $_; sub { $n * $_[0] } } 1 .. 5000;
    my $sum = 0;
    $sum += $_->(3) for @closures;
    my $packed = pack 'N*', map { $_->[1] } @sorted;
    return join ' ', $found, length($other), scalar(keys %count), $sum,
        unpack('%32C*', $packed), $sorted[0][0], $sorted[-1][1];
}

if (@ARGV && $ARGV[0] eq 'threads') {
    require threads;
    require Thread::Queue;
    my $queue = Thread::Queue->new();
    my @workers = map {
        my $n = $_;
        threads->create(sub {
            $queue->enqueue("$n: " . work($n)) for 1 .. 2;
            return 'x' x 100_000;
        });
    } 1 .. 4;
    my $returned = 0;
    $returned += length $_->join() for @workers;
    my @lines;
    while (defined(my $line = $queue->dequeue_nb())) {
        push @lines, $line;
    }
    print "$_\n" for sort @lines;
    print "$returned\n";
} else {
    print work($_), "\n" for 1 .. 4;
}
