# SPDX-License-Identifier: MIT
# Perl on records: hashes of arrays, sort, split, join, regular expressions, strings that grow.
# One argument: how many rounds.
use strict;
use warnings;

my $rounds = shift;
my $seed = 1;
sub dice { $seed = ($seed * 1103515245 + 12345) & 0x7fffffff; ($seed >> 8) % shift }

my (%people, @log, %index);
my $sum = 0;
for my $n (1 .. $rounds) {
    my $name = "user" . dice(5000);
    my %record = (id => $n, name => $name, note => 'n' x dice(60),
        tags => [map { "tag" . dice(50) } 0 .. dice(6)]);
    push @{ $people{$name}{records} }, \%record;
    shift @{ $people{$name}{records} } if @{ $people{$name}{records} } > 12;
    my $line = join ',', map { "$_=" . (ref $record{$_} ? "@{$record{$_}}" : $record{$_}) }
        sort keys %record;
    push @log, $line;
    my %fields = map { split /=/, $_, 2 } split /,/, $line;
    (my $text = $fields{tags}) =~ s/tag(\d+)/<$1>/g;
    $index{$_}{$name}++ for split / /, $text;
    $people{$name}{text} .= $text;
    $people{$name}{text} = substr $people{$name}{text}, -300
        if length $people{$name}{text} > 900;
    if ($n % 20000 == 0) {
        my @sorted = sort { $a cmp $b } splice @log, 0, 10000;
        $sum += length join "\n", grep { /user\d*7,/ } @sorted;
        %index = () if $n % 60000 == 0;
    }
}
$sum += length for map { $_->{text} } values %people;
$sum += keys %{ $index{$_} } for keys %index;
print scalar(keys %people), " $sum\n";
