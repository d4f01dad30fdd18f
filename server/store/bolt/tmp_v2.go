package bolt

var bucketOrdersDead = []byte("orders_dead")
