-- What our counts hold, by DuckDB, from the view `found` of the log. A query for each tally, its quantiles approximate.
create view good as select * from found where error is null and prediction is not null;

select label, prediction, count(*) from good where label is not null group by all;

select cut, codec, tail, count(*), count(*) filter (error is not null), count(*) filter (label is null),
    count(*) filter (error is null and label = prediction), sum(image_bytes), sum(cut_bytes), sum(sent_bytes), sum(received_bytes),
    sum(columns('.*_us')), min(columns('.*_us')), max(columns('.*_us')),
    approx_quantile(columns('.*_us'), [0.5, 0.9, 0.95, 0.99, 0.999])
from found group by grouping sets ((), (cut), (codec), (tail));

select cut, codec, tail, count(*) filter (list_contains(list_transform(top5, lambda x: x.label), label))
from good group by grouping sets ((), (cut), (codec), (tail));

select label, count(*), count(*) filter (error is not null),
    count(*) filter (error is null and label = prediction), sum(image_bytes), sum(cut_bytes), sum(sent_bytes), sum(received_bytes),
    count(*) filter (list_contains(list_transform(top5, lambda x: x.label), label)),
    sum(latency_us), min(latency_us), max(latency_us), approx_quantile(latency_us, [0.5, 0.9, 0.95, 0.99, 0.999])
from found group by label;

select prediction, count(*), count(*) filter (label is null),
    count(*) filter (error is null and label = prediction), sum(image_bytes), sum(cut_bytes), sum(sent_bytes), sum(received_bytes),
    count(*) filter (list_contains(list_transform(top5, lambda x: x.label), label)),
    sum(latency_us), min(latency_us), max(latency_us), approx_quantile(latency_us, [0.5, 0.9, 0.95, 0.99, 0.999])
from found group by prediction;

select parse_dirpath(image) as folder, count(*), count(*) filter (error is not null), count(*) filter (label is null),
    count(*) filter (error is null and label = prediction), sum(image_bytes), sum(cut_bytes), sum(sent_bytes), sum(received_bytes),
    count(*) filter (list_contains(list_transform(top5, lambda x: x.label), label)),
    sum(latency_us), min(latency_us), max(latency_us), approx_quantile(latency_us, [0.5, 0.9, 0.95, 0.99, 0.999])
from found group by folder;

select ceil(confidence * 15) as bin, (-log2(1 - confidence + 1e-9) * 128)::int as bucket, label = prediction as correct,
    count(*), sum(confidence), sum((correct::int - confidence) ** 2),
    sum(ln(greatest(1e-7, if(correct, confidence, 1 - confidence))))
from good where label is not null group by bin, bucket, correct;

select date_trunc('minute', started_at) as minute, count(*), min(started_at), max(epoch_us(started_at) + latency_us)
from good group by minute;

select * from (
    select label, prediction, image, confidence from good where label <> prediction
    order by confidence desc, label, prediction, image limit 50000
) qualify row_number() over (partition by label, prediction order by confidence desc) <= 5
order by confidence desc limit 1000
